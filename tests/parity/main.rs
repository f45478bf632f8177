//! The same numbers as transformers, PEFT and PyTorch, on each device there is.

mod classifiers;
mod families;
mod sentence_piece;
mod seq2seq;
mod windows;

use std::process::{Command, Stdio};

use burn::tensor::Device;
use serde::Deserialize;
use stratune_data::Tokenizer;
use stratune_kernels::{Sizes, compute_dtypes, self_test};
use stratune_peft::{MethodConfig, MethodKind, Param, ParamId, Parameters, Visitor};
use stratune_protocol::{BaseDtype, ComputeDtype, TrainConfig};
use stratune_runtime::{block_on, open_wgpu};
use stratune_tests::runs::{RecordingCallback, of_width, trainer, trainer_of};
use stratune_tests::{checks, fixtures, skipped};
use stratune_train::{AdamW, RunConfig, StepKey, Trainer};

#[test]
fn on_the_cpu() {
    block_on(checks::all(&Device::flex()));
}

#[test]
fn stories_on_the_cpu() {
    if !block_on(checks::stories_are_told(&Device::flex(), 240)) {
        skipped("STRATUNE_DATA is not set");
    }
}

/// Any adapter will do, a software one too: what is proven is that the numbers are right.
#[test]
fn on_wgpu() {
    match block_on(open_wgpu()) {
        Err(problem) => skipped(problem),
        Ok(opened) => {
            println!("on {}", opened.info.name);
            block_on(checks::all(&opened.device));
            if !block_on(checks::stories_are_told(&opened.device, 40)) {
                skipped("STRATUNE_DATA is not set");
            }
        }
    }
}

/// What a GPU is given to do, on any adapter, in a process of its own.
#[test]
fn as_a_gpu() {
    run_as_a_gpu("wgpu", "2 passed");
}

/// The tests with `name` in their names, in a process that takes any adapter for a GPU; it must tell so.
fn run_as_a_gpu(name: &str, tells: &str) {
    let tests = Command::new(std::env::current_exe().unwrap())
        .args([name, "--nocapture"])
        .env("STRATUNE_ADAPTER", "gpu")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&tests.stdout);
    println!("{told}");
    assert!(tests.status.success() && told.contains(tells), "the process ended with {}", tests.status);
}

/// A device on which products multiply in f16, by itself in a process that takes any adapter for a GPU; says so if there is none.
fn with_f16(of: impl FnOnce(&Device), name: &str) {
    if std::env::var_os("STRATUNE_ADAPTER").is_none_or(|kind| kind != "gpu") {
        return run_as_a_gpu(name, "1 passed");
    }
    let Ok(opened) = block_on(open_wgpu()).inspect_err(|problem| skipped(problem)) else { return };
    match compute_dtypes(&opened.device).contains(&ComputeDtype::F16) {
        true => of(&opened.device),
        false => skipped(format!("{} has no f16", opened.info.name)),
    }
}

/// A run of LoRA on blocks so wide that their products may multiply in f16.
fn run_in(base_dtype: BaseDtype, compute_dtype: ComputeDtype, train: &TrainConfig, device: &Device) -> Trainer {
    let method = MethodConfig { rank: Some(4), ..MethodConfig::default() }.into();
    let config = RunConfig { method, train: train.clone(), base_dtype, compute_dtype, ..RunConfig::default() };
    trainer_of(&config, of_width(64, 2, base_dtype, device))
}

/// Fifty steps whose products multiply in f16, on a base of floats and of 4 bits, beside the same in f32: each loss within 1 %.
#[test]
fn fifty_steps_in_f16_are_those_in_f32() {
    let compared = |device: &Device| {
        let sizes = Sizes { compute: ComputeDtype::F16, ..Sizes::default() };
        assert_eq!(block_on(self_test(device, &sizes)), Ok(()));
        let train =
            TrainConfig { steps: 50, batch_size: 4, learning_rate: 2e-3, log_every: 1, ..TrainConfig::default() };
        for base_dtype in [BaseDtype::F32, BaseDtype::Int4] {
            let [f16, f32] = [ComputeDtype::F16, ComputeDtype::F32].map(|compute| {
                let mut recording = RecordingCallback::default();
                block_on(recording.watch(&mut run_in(base_dtype, compute, &train, device))).unwrap();
                recording.losses()
            });
            assert_eq!((f16.len(), f32.len()), (50, 50));
            assert_ne!(f16, f32, "this is no f16");
            let off = f16.iter().zip(&f32).map(|(f16, f32)| (f16 / f32 - 1.0).abs());
            println!("{base_dtype}: losses differ by at most {:.1e}", off.fold(0.0, f64::max));
            for (step, (f16, f32)) in f16.iter().zip(&f32).enumerate() {
                assert!((f16 / f32 - 1.0).abs() < 0.01, "{base_dtype}, step {step}: {f16} and {f32}");
            }
        }
    };
    with_f16(compared, "steps_in_f16");
}

/// Runs that take turns in one process, in other types and with other loss scales, each give what they give alone, to the last
/// bit.
#[test]
fn runs_beside_each_other_are_as_alone() {
    let compared = |device: &Device| {
        let of = |batch_size, compute| {
            let train = TrainConfig { steps: 6, batch_size, log_every: 1, ..TrainConfig::default() };
            (run_in(BaseDtype::F32, compute, &train, device), RecordingCallback::default())
        };
        let runs = || [of(1, ComputeDtype::F16), of(8, ComputeDtype::F16), of(1, ComputeDtype::F32)];
        let alone = runs().map(|(mut trainer, mut recording)| {
            block_on(recording.watch(&mut trainer)).unwrap();
            recording.losses()
        });
        let [(mut a, mut of_a), (mut b, mut of_b), (mut c, mut of_c)] = runs();
        let all = futures::future::join3(of_a.watch(&mut a), of_b.watch(&mut b), of_c.watch(&mut c));
        let (a, b, c) = block_on(all);
        for ended in [a, b, c] {
            ended.unwrap();
        }
        assert_eq!([of_a, of_b, of_c].map(|recording| recording.losses()), alone);
    };
    with_f16(compared, "beside_each_other");
}

/// Fifty steps by the shaders of a graphics adapter and by the CPU's own operations, which share no code: each loss within
/// 1 % and each number that trains within 1e-3. Rounding differs at every sum, and steps carry it on.
///
/// At usual rates: AdamW makes a whole step of a gradient that is rounding alone, as that of LoRA's A is at first, so the
/// difference grows with the rate. At 1e-2 one entry of A was off by 1.1e-3.
#[test]
fn fifty_steps_on_wgpu_are_those_on_the_cpu() {
    let Ok(opened) = block_on(open_wgpu()).inspect_err(|problem| skipped(problem)) else { return };
    let lora = MethodConfig { rank: Some(4), ..MethodConfig::default() };
    for (method, learning_rate) in [(lora, 2e-3), (MethodConfig::new(MethodKind::Full), 3e-3)] {
        let config = RunConfig {
            method: method.into(),
            train: TrainConfig { steps: 50, batch_size: 4, learning_rate, log_every: 1, ..TrainConfig::default() },
            ..RunConfig::default()
        };
        let run = |device: &Device| {
            let mut trainer = trainer(&config, 3, device);
            let mut recording = RecordingCallback::default();
            block_on(recording.watch(&mut trainer)).unwrap();
            (recording.losses(), recording.last().tensors.clone())
        };
        let (losses, tensors) = run(&opened.device);
        let (cpu_losses, cpu_tensors) = run(&Device::flex());
        let name = config.method.title();
        assert_eq!(losses.len(), 50);
        for (step, (on_wgpu, on_cpu)) in losses.iter().zip(&cpu_losses).enumerate() {
            assert!((on_wgpu / on_cpu - 1.0).abs() < 0.01, "{name}, step {step}: {on_wgpu} and {on_cpu}");
        }
        assert_eq!(tensors.len(), cpu_tensors.len());
        for (path, tensor) in tensors.iter().filter(|(path, _)| !path.contains("moment")) {
            let off = checks::worst(&tensor.data, &cpu_tensors[path].data);
            assert!(off < 1e-3, "{name}: {path} is off by {off}");
        }
        if config.method[0].kind == MethodKind::Full {
            let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
            assert!(mean(&losses[40..]) < mean(&losses[..10]) - 0.05, "nothing is learned: {losses:?}");
        }
    }
}

#[derive(Deserialize)]
struct Steps {
    learning_rate: f64,
    betas: (f32, f32),
    weight_decay: f32,
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    after: Vec<Vec<f32>>,
}

struct One(Param<1>);

impl Parameters for One {
    fn each(&mut self, visitor: &mut impl Visitor) {
        visitor.visit(&ParamId { block: None, path: "one".into() }, &mut self.0);
    }
}

/// torch.optim.AdamW, step by step, within f32's rounding.
#[test]
fn adamw_is_pytorchs() {
    let steps: Steps = serde_json::from_slice(fixtures::ADAMW).unwrap();
    let device = Device::flex();
    let tensor = |values: &[f32]| burn::tensor::Tensor::<1>::from_floats(values, &device);
    let mut one = One(Param::trainable(tensor(&steps.start)));
    let mut adam = AdamW::with_betas(steps.weight_decay, steps.betas.0, steps.betas.1);
    for (gradient, after) in steps.gradients.iter().zip(&steps.after) {
        let gradients = [("one".to_string(), tensor(gradient))].into();
        adam.step(&mut one, gradients, 0.0, |_| steps.learning_rate, StepKey::default());
        let ours: Vec<f32> = one.0.value.to_data().iter::<f32>().collect();
        assert!(ours.iter().zip(after).all(|(a, b)| (a - b).abs() <= 1e-6), "{ours:?} {after:?}");
    }
}

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
}

/// The tokens of Hugging Face's tokenizers library in Python, and back.
#[test]
fn tokens_are_the_librarys() {
    let folder = fixtures::folder("tokenizer");
    let read = |name: &str| block_on(folder.read(name, None)).unwrap();
    let tokenizer =
        Tokenizer::from_json(&read("tokenizer.json"), Some(&read("tokenizer_config.json")), "tokenizer.json").unwrap();
    let samples: Vec<Sample> = serde_json::from_slice(&read("samples.json")).unwrap();
    assert!(samples.len() > 3);
    for sample in samples {
        assert_eq!(tokenizer.encode(&sample.text).unwrap(), sample.ids, "{}", sample.text);
        // Special tokens are recognised in a text, and are no part of what is said.
        assert_eq!(tokenizer.decode(&sample.ids).unwrap(), sample.text.replace("<|endoftext|>", ""));
    }
}
