//! LoRA on the activation side, as here, beside burn's own, which forms `W + s·AB` at every pass: speed and memory of
//! some blocks, forward and backward, on the same numbers, in turns of one run. What is between the linear layers is
//! ours in both.
//!
//! `cargo run --release -p stratune-peft --example apply_lora`, for a GPU with
//! `--features stratune-kernels/wgpu` and `-- wgpu`

use std::error::Error;
use std::rc::Rc;

use burn::module::{Lora as BurnLora, Module};
use burn::nn;
use burn::tensor::{Device, Distribution, Gradients, Tensor};
use stratune_kernels::{AttentionMask, CosSin, Rotary, Scores, attention, feed_forward, self_attention, swiglu};
use stratune_peft::{
    ForwardContext, Linear, Lora, ModuleId, Param, ParamId, Parameters, Shared, Visitor, require_grad,
};
use stratune_runtime::{
    Opened, Stopwatch, block_on, keep_heap, memory_in_use, open_cpu, open_wgpu, peak_host_memory, read_f32,
    reset_peak_host_memory,
};

/// Width of the stream, of keys and values, and inside the feed-forward layers: SmolLM2-135M's.
const HIDDEN: usize = 576;
const KEYS: usize = 192;
const INNER: usize = 1536;
const HEAD: usize = 64;
/// Its blocks are 30; a few are enough to tell.
const BLOCKS: usize = 4;
/// Rows of a batch and tokens of a row.
const BATCHES: [[usize; 2]; 2] = [[2, 128], [8, 256]];
const RANK: usize = 8;
const ALPHA: f64 = 16.0;
/// Steps that are not measured, and steps that are.
const STEPS: [usize; 2] = [2, 10];

/// Linear layers of either kind, each the way a model uses it.
trait Layer: Sized {
    /// The output, added to a residual stream.
    fn residual(&self, x: Tensor<3>, stream: Tensor<3>) -> Tensor<3>;

    /// What the heads of q, k and v give over `x`.
    fn attended(layers: [&Self; 3], x: Tensor<3>, at: &Places) -> Tensor<3>;

    /// What gate, up and down make of `x`, added to it.
    fn fed(layers: [&Self; 3], x: Tensor<3>) -> Tensor<3>;
}

/// Where the tokens are.
struct Places {
    cos_sin: CosSin,
    mask: AttentionMask,
}

impl Layer for nn::Linear {
    fn residual(&self, x: Tensor<3>, stream: Tensor<3>) -> Tensor<3> {
        stream + self.forward(x)
    }

    fn attended(layers: [&Self; 3], x: Tensor<3>, at: &Places) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let [q, k, v] = layers.map(|layer| {
            let [_, width] = layer.weight.dims();
            layer.forward(x.clone()).reshape([batch, seq, width / HEAD, HEAD]).swap_dims(1, 2)
        });
        let [q, k, v] = at.cos_sin.apply_rotary(q, k, v);
        attention(q, k, v, &at.mask, Scores::of(HEAD)).swap_dims(1, 2).reshape([batch, seq, HIDDEN])
    }

    fn fed([gate, up, down]: [&Self; 3], x: Tensor<3>) -> Tensor<3> {
        down.residual(swiglu(gate.forward(x.clone()), up.forward(x.clone())), x)
    }
}

fn context() -> ForwardContext {
    ForwardContext::inference(0, Rc::new(Shared::default()))
}

impl Layer for Linear {
    fn residual(&self, x: Tensor<3>, stream: Tensor<3>) -> Tensor<3> {
        self.forward_residual(x, Some(stream), &context())
    }

    fn attended(layers: [&Self; 3], x: Tensor<3>, at: &Places) -> Tensor<3> {
        match Self::plain(layers, &context()) {
            Some(layers) => self_attention(x, &layers, HEAD, &at.cos_sin, &at.mask, Scores::of(HEAD), None),
            None => unreachable!("they have a low-rank update and nothing else"),
        }
    }

    fn fed(layers: [&Self; 3], x: Tensor<3>) -> Tensor<3> {
        match Self::plain(layers, &context()) {
            Some([gate, up, down]) => feed_forward(x.clone(), gate, up, down, Some(x)),
            None => unreachable!("they have a low-rank update and nothing else"),
        }
    }
}

/// Inputs and outputs of a block's layers: q, k, v, o, gate, up, down.
const SHAPES: [[usize; 2]; 7] = [
    [HIDDEN, HIDDEN],
    [HIDDEN, KEYS],
    [HIDDEN, KEYS],
    [HIDDEN, HIDDEN],
    [HIDDEN, INNER],
    [HIDDEN, INNER],
    [INNER, HIDDEN],
];

/// A block that has no norms.
fn block<L: Layer>(layers: &[L], x: Tensor<3>, at: &Places) -> Tensor<3> {
    let [q, k, v, o, gate, up, down] = [0, 1, 2, 3, 4, 5, 6].map(|i: usize| &layers[i]);
    let x = o.residual(L::attended([q, k, v], x.clone(), at), x);
    L::fed([gate, up, down], x)
}

/// A training pass's forward half. The input is tracked, as that of every block but the first one is.
fn forward<L: Layer>(layers: &[L], x: &Tensor<3>, at: &Places) -> Tensor<3> {
    layers.chunks(SHAPES.len()).fold(x.clone().autodiff().require_grad(), |x, layers| block(layers, x, at))
}

/// burn's layers, as `Module::apply_lora` makes them (burn-core 0.22.1, src/module/lora.rs).
fn burns(device: &Device) -> Vec<nn::Linear> {
    let device = device.clone().autodiff();
    let layer = |[inputs, outputs]: [usize; 2]| {
        let plain = nn::LinearConfig::new(inputs, outputs).with_bias(false).init(&device);
        plain.apply_lora(BurnLora::new(RANK, ALPHA))
    };
    (0..BLOCKS).flat_map(|_| SHAPES).map(layer).collect()
}

/// Ours, of the same numbers. burn keeps weights and factors the other way round; here they are in order, as a model
/// that was read has them, and not views of burn's.
fn ours(burns: &[nn::Linear]) -> Result<Vec<Linear>, Box<dyn Error>> {
    let transposed = |x: Tensor<2>| {
        let x = x.inner().transpose();
        Tensor::from_data(x.to_data(), &x.device())
    };
    let mut all = Vec::new();
    for theirs in burns {
        let adapter = theirs.weight.adapter().ok_or("burn has added nothing")?;
        let lora = Lora {
            a: Param::trainable(transposed(adapter.a.val())),
            b: Param::trainable(transposed(adapter.b.val())),
            start: None,
            start_in_base: false,
            gate: None,
            scale: adapter.scale as f32,
            dynamic: None,
            dropout: 0.0,
            site: 0,
        };
        let mut layer = Linear::new(ModuleId::new(None, "layer"), transposed(theirs.weight.base()));
        layer.deltas.push(Box::new(lora));
        require_grad(&mut layer);
        all.push(layer);
    }
    Ok(all)
}

/// The gradients of the first layer's factors, the way we keep them.
fn burns_gradients(layers: &[nn::Linear], tape: &Gradients) -> Option<[Tensor<2>; 2]> {
    let adapter = layers[0].weight.adapter()?;
    Some([adapter.a.val().grad(tape)?.transpose(), adapter.b.val().grad(tape)?.transpose()])
}

fn our_gradients(layers: &[Linear], tape: &Gradients) -> Option<[Tensor<2>; 2]> {
    struct Collect<'a>(&'a Gradients, Vec<Tensor<2>>);
    impl Visitor for Collect<'_> {
        fn visit<const D: usize>(&mut self, _: &ParamId, param: &mut Param<D>) {
            if let Some(gradient) = param.value.grad(self.0).filter(|_| param.trainable) {
                let shape: [usize; 2] = [gradient.dims()[0], gradient.dims()[1]];
                self.1.push(gradient.reshape(shape));
            }
        }
    }
    let mut collect = Collect(tape, Vec::new());
    layers[0].clone().each(&mut collect);
    collect.1.try_into().ok()
}

/// What one kind of layers took.
#[derive(Default)]
struct Taken {
    seconds: Vec<f64>,
    peak: u64,
    held: u64,
    gradients: Option<[Tensor<2>; 2]>,
}

impl Taken {
    /// One step: the peak of the host's memory, and what is held between forward and backward, beside what was there.
    fn step<L: Layer>(
        &mut self,
        opened: &Opened,
        layers: &[L],
        (x, at): (&Tensor<3>, &Places),
        gradients: impl Fn(&[L], &Gradients) -> Option<[Tensor<2>; 2]>,
    ) -> Result<(), Box<dyn Error>> {
        opened.device.sync()?;
        let before = memory_in_use(&opened.device);
        reset_peak_host_memory();
        let clock = Stopwatch::start();
        let y = forward(layers, x, at);
        let held = memory_in_use(&opened.device);
        let tape = y.sum().backward();
        let found = gradients(layers, &tape).ok_or("a factor has no gradient")?;
        // Only reading waits for the device.
        block_on(read_f32(found[0].clone().narrow(0, 0, 1).narrow(1, 0, 1)))?;
        self.seconds.push(clock.seconds());
        self.peak = self.peak.max(peak_host_memory().saturating_sub(before));
        self.held = self.held.max(held.saturating_sub(before));
        self.gradients = Some(found);
        Ok(())
    }

    /// Tokens a second of the median step.
    fn speed(&self, tokens: usize) -> f64 {
        let mut seconds = self.seconds[STEPS[0]..].to_vec();
        seconds.sort_by(f64::total_cmp);
        tokens as f64 / seconds[seconds.len() / 2]
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // As the command line does, so that temporaries are not cleared by the system each time.
    keep_heap();
    let on_gpu = std::env::args().any(|argument| argument == "wgpu");
    let opened = if on_gpu { block_on(open_wgpu())? } else { open_cpu()? };
    println!("{} · {BLOCKS} of SmolLM2-135M's blocks, rank {RANK}", opened.info.name);
    let theirs = burns(&opened.device);
    let ours = ours(&theirs)?;
    println!("rows × tokens   tokens/s, burn's → ours     ×   MiB held for the backward pass     ×   peak MiB     ×");
    for [rows, seq] in BATCHES {
        let x = Tensor::<3>::random([rows, seq, HIDDEN], Distribution::Normal(0.0, 1.0), &opened.device);
        let cos_sin = Rotary::new(HEAD, seq, 10_000.0, &opened.device).cos_sin_after(0, seq);
        let at = Places { cos_sin, mask: AttentionMask::causal(seq, &opened.device) };
        let (mut burn, mut our) = (Taken::default(), Taken::default());
        for _ in 0..STEPS[0] + STEPS[1] {
            burn.step(&opened, &theirs, (&x, &at), burns_gradients)?;
            our.step(&opened, &ours, (&x, &at), our_gradients)?;
        }
        agree(&burn, &our)?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let [fast, slow] = [our.speed(rows * seq), burn.speed(rows * seq)];
        print!("{rows:4} × {seq:<6}   {slow:9.0} → {fast:<9.0}   {:5.2}   ", fast / slow);
        print!("{:12.1} → {:<12.1}   {:5.2}", mib(burn.held), mib(our.held), our.held as f64 / burn.held as f64);
        if on_gpu {
            println!("   not told by a GPU");
        } else {
            println!("   {:.1} → {:.1}   {:.2}", mib(burn.peak), mib(our.peak), our.peak as f64 / burn.peak as f64);
        }
    }
    Ok(())
}

/// Both kinds must do the same: the first layer's gradients agree to a thousandth of their greatest entry, f32 sums of
/// up to 2048 rows through four blocks being added up in different orders.
fn agree(burn: &Taken, our: &Taken) -> Result<(), Box<dyn Error>> {
    for (theirs, ours) in burn.gradients.iter().flatten().zip(our.gradients.iter().flatten()) {
        let greatest = |x: Tensor<2>| block_on(read_f32(x.abs().max())).map(|v| v[0]);
        let (off, of) = (greatest(theirs.clone() - ours.clone())?, greatest(theirs.clone())?);
        if off.is_nan() || off > 1e-3 * of {
            return Err(format!("the gradients differ by {off}, the greatest being {of}").into());
        }
    }
    Ok(())
}
