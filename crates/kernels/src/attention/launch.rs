//! Attention by `shaders/attention.wgsl` and its gradients by `shaders/attention_dq.wgsl` and `attention_dkv.wgsl`, or by
//! their versions for software adapters. Heads are read where they lie, and written so that those of a position lie side
//! by side, as the projections have them.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, AttentionOps};
use super::{Options, Scores};
use crate::shader::{Bound, INVOCATIONS, SIDE, Shader, empty, fours, is_software, strides, suit};
use crate::tensor_list::{TensorList, common_buffer, empty_tensors_of};

/// Vectors of four in the widest head that invocations hold in registers.
const WIDEST: u32 = 32;
/// Queries, or keys, that an invocation has on a software adapter.
const MANY: u32 = 4;

/// An operand as the shaders read it, and the vectors between its rows of the batch, heads and positions.
struct Operand {
    tensor: CubeTensor,
    strides: [u32; 4],
}

impl Operand {
    fn new(tensor: CubeTensor) -> Self {
        let (mut tensor, mut between) = strides(tensor);
        if between.iter().any(|stride| !stride.is_multiple_of(4)) {
            (tensor, between) = strides(into_contiguous(tensor));
        }
        let [batch, head, position] = between.map(|stride| stride / 4);
        Self { tensor, strides: [batch, head, position, 0] }
    }
}

/// The sides of the operands.
#[derive(Clone, Copy)]
struct Sides {
    batch: u32,
    heads: u32,
    kv_heads: u32,
    seq: u32,
    keys: u32,
    /// Vectors of four in a head.
    vectors: u32,
    /// Queries, or keys, of an invocation; more than one by the shaders for software adapters.
    each: u32,
    /// What scores are multiplied by.
    scale: f32,
}

impl Sides {
    /// If the shaders can take them.
    fn of(q: &CubeTensor, k: &CubeTensor, v: &CubeTensor, options: Options) -> Option<Self> {
        let Options { scores: Scores { scale, softcap }, bidirectional, .. } = options;
        // They know no cap, and no key behind its query.
        if !suit([q, k, v]) || softcap.is_some() || bidirectional {
            return None;
        }
        let [batch, heads, seq, width] = [0, 1, 2, 3].map(|side| q.shape()[side] as u32);
        let [kv_heads, keys] = [1, 2].map(|side| k.shape()[side] as u32);
        let fits = width.is_multiple_of(4) && width / 4 <= WIDEST && batch.max(heads) <= SIDE;
        let each = if is_software(q) { MANY } else { 1 };
        fits.then_some(Self { batch, heads, kv_heads, seq, keys, vectors: width / 4, each, scale })
    }

    /// Whether pairs are read in fours, and there are no keys but those of the queries' positions.
    fn turns_back(&self) -> bool {
        self.vectors.is_multiple_of(2) && self.keys == self.seq
    }

    /// The numbers of the shaders.
    fn numbers<const N: usize>(&self, rows_apart: u32, operands: [&Operand; N]) -> Vec<u32> {
        let mut numbers = vec![self.heads, self.heads / self.kv_heads, self.seq, self.keys];
        numbers.extend([rows_apart, self.scale.to_bits(), 0, 0]);
        numbers.extend(operands.iter().flat_map(|operand| operand.strides));
        numbers
    }

    /// Of the texts for an invocation with one query or key, and with many.
    fn shader(&self, name: &'static str, one: &'static str, many: &'static str) -> Shader {
        Shader::new(name, if self.each == 1 { one } else { many })
            .with("vectors", self.vectors)
            .with("each", self.each)
            .unrolled("$c", self.vectors)
            .unrolled("$e", self.each)
    }

    fn workgroups(&self, positions: u32, heads: u32) -> [u32; 3] {
        [positions.div_ceil(INVOCATIONS * self.each), heads, self.batch]
    }

    /// What `[batch, heads, positions, width]` is in memory, with the heads of a position side by side.
    fn lying(&self, positions: u32, heads: u32) -> [usize; 4] {
        [self.batch, positions, heads, 4 * self.vectors].map(|side| side as usize)
    }
}

fn heads_first(tensor: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(tensor, 1, 2)
}

/// The output, and for each query its log-sum-exp and first key: `[batch, heads, seq, 4]`.
fn attend(sides: &Sides, q: CubeTensor, k: CubeTensor, v: CubeTensor, first: CubeTensor) -> (CubeTensor, CubeTensor) {
    let [q, k, v] = [q, k, v].map(Operand::new);
    let first = into_contiguous(first);
    let rows_apart = if first.shape()[0] > 1 { sides.seq } else { 0 };
    let y = empty(&q.tensor, sides.lying(sides.seq, sides.heads));
    let saved = empty(&q.tensor, [sides.batch, sides.heads, sides.seq, 4].map(|side| side as usize));
    let one = include_str!("../../../../shaders/attention.wgsl");
    let many = include_str!("../../../../shaders/attention_many.wgsl");
    sides.shader("attention", one, many).launch(
        &[
            Bound::In(&q.tensor),
            Bound::In(&k.tensor),
            Bound::In(&v.tensor),
            Bound::In(&first),
            Bound::Out(&y),
            Bound::Out(&saved),
        ],
        &sides.numbers(rows_apart, [&q, &k, &v]),
        sides.workgroups(sides.seq, sides.heads),
    );
    (heads_first(y), saved)
}

/// The gradients of q, k and v, of the output, its gradient, and what [`attend`] has saved.
fn gradients(
    sides: &Sides,
    [q, k, v, y, dy]: [CubeTensor; 5],
    saved: &CubeTensor,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [q, k, v, y, dy] = [q, k, v, y, dy].map(Operand::new);
    let like = &q.tensor;
    // Side by side, because the layers that made q, k and v read all of them.
    let of_keys = sides.lying(sides.keys, sides.kv_heads);
    let [dq, dk, dv] = empty_tensors_of(like, [sides.lying(sides.seq, sides.heads), of_keys, of_keys]);
    let shared = [&q, &k, &v].map(|operand| Bound::In(&operand.tensor));
    let one = include_str!("../../../../shaders/attention_dq.wgsl");
    let many = include_str!("../../../../shaders/attention_dq_many.wgsl");
    sides.shader("attention_dq", one, many).launch(
        &[&shared[..], &[Bound::In(&y.tensor), Bound::In(&dy.tensor), Bound::InOut(saved), Bound::Out(&dq)]].concat(),
        &sides.numbers(0, [&q, &k, &v, &y, &dy]),
        sides.workgroups(sides.seq, sides.heads),
    );
    let one = include_str!("../../../../shaders/attention_dkv.wgsl");
    let many = include_str!("../../../../shaders/attention_dkv_many.wgsl");
    sides.shader("attention_dkv", one, many).launch(
        &[&shared[..], &[Bound::In(&dy.tensor), Bound::In(saved), Bound::Out(&dk), Bound::Out(&dv)]].concat(),
        &sides.numbers(0, [&q, &k, &v, &dy]),
        sides.workgroups(sides.keys, sides.kv_heads),
    );
    (heads_first(dq), heads_first(dk), heads_first(dv))
}

/// The same of q, k, v, what [`attend`] has saved, the output and its gradient, where q and k were rotated by these
/// angles: with respect to what they were before, as matrices of a row for each position. By one dispatch for a GPU, if
/// q, k and v lie in one buffer, cosines and sines in one, and heads have fours of pairs.
pub fn attention_rotary_backward_on_gpu(
    operands: &TensorList<CubeBackend>,
    cosines: &CubeTensor,
    sines: &CubeTensor,
    options: Options,
) -> Option<TensorList<CubeBackend>> {
    let gpu = operands.0.first().is_some_and(|q| !is_software(q));
    gpu.then(|| attention_rotary_backward(operands, cosines, sines, options))?
}

/// The same, on whatever adapter.
pub fn attention_rotary_backward(
    TensorList(operands): &TensorList<CubeBackend>,
    cosines: &CubeTensor,
    sines: &CubeTensor,
    options: Options,
) -> Option<TensorList<CubeBackend>> {
    let [q, k, v, saved, y, dy] = operands.as_slice() else { return None };
    let by_shader = saved.shape().num_dims() == 4 && suit([y, dy, cosines, sines]);
    let sides = Sides::of(q, k, v, options).filter(|sides| by_shader && sides.turns_back())?;
    let [q, k, v, y, dy] = [q, k, v, y, dy].map(|operand| Operand::new(operand.clone()));
    let lying = [&q, &k, &v].map(|operand| heads_first(operand.tensor.clone()));
    let (qkv, begins) = common_buffer(&lying.each_ref())?;
    let of = |positions: u32, heads: u32| sides.lying(positions, heads);
    let shapes = [of(sides.seq, sides.heads), of(sides.seq, sides.kv_heads), of(sides.seq, sides.kv_heads)];
    let outputs = empty_tensors_of(&qkv, shapes.map(|[batch, seq, heads, width]| [batch * seq, heads * width]));
    let (back, ends) = common_buffer(&outputs.each_ref())?;
    let (angles, of_angles) = common_buffer(&[cosines, sines])?;
    // Places are counted in vectors of four floats.
    let vectors = |bytes: &[u64], angles: u64| [bytes[0], bytes[1], bytes[2], angles].map(fours);
    let period = (cosines.shape()[0] * cosines.shape()[2]) as u32;
    let mut numbers =
        vec![sides.heads, sides.heads / sides.kv_heads, sides.seq, period, sides.scale.to_bits(), 0, 0, 0];
    numbers.extend([vectors(&begins, of_angles[0]), vectors(&ends, of_angles[1])].concat());
    numbers.extend([&q, &k, &v, &y, &dy].into_iter().flat_map(|operand| operand.strides));
    Shader::new("attention_back", include_str!("../../../../shaders/attention_back.wgsl"))
        .with("vectors", sides.vectors)
        .unrolled("$c", sides.vectors)
        .launch(
            &[
                Bound::In(&qkv),
                Bound::In(&y.tensor),
                Bound::In(&dy.tensor),
                Bound::In(saved),
                Bound::Out(&back),
                Bound::In(&angles),
            ],
            &numbers,
            [2 * sides.seq.div_ceil(INVOCATIONS), sides.heads, sides.batch],
        );
    Some(TensorList(outputs.to_vec()))
}

impl AttentionOps for CubeBackend {
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        Self::attention_forward_saving(q, k, v, first, options).0
    }

    fn attention_forward_saving(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        first: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        match Sides::of(&q, &k, &v, options).filter(|_| suit([&first])) {
            Some(sides) => attend(&sides, q, k, v, first),
            None => (reference::forward::<Self>(q, k, v, first.clone(), options), first),
        }
    }

    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        saved: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        // What the reference keeps is a matrix.
        let by_shader = saved.shape().num_dims() == 4;
        let Some(sides) = Sides::of(&q, &k, &v, options).filter(|_| by_shader && suit([&y, &dy])) else {
            return reference::backward::<Self>(q, k, v, saved, y, dy, options);
        };
        gradients(&sides, [q, k, v, y, dy], &saved)
    }
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers, of_values, on_device, wgpu};

    /// Against the reference, in the form for each kind of adapter: heads of one vector and of sixteen, alone and in groups,
    /// after a past, beyond a workgroup, in rows of several texts; inputs in order and as views; scores of hundreds too,
    /// which f32 rounds by 1e-5.
    #[test]
    fn values_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for (batch, heads, kv_heads, seq, past, width) in [
            (1, 1, 1, 1, 0, 4),
            (1, 2, 1, 1, 70, 8),
            (2, 4, 2, 7, 0, 8),
            (1, 6, 2, 13, 5, 12),
            (2, 2, 2, 150, 0, 16),
            (1, 9, 3, 65, 4, 64),
        ] {
            let plain = Scores::of(width);
            let sharp = Scores { scale: 0.7, softcap: None };
            for (most, texts, scores, window) in
                [(0.5, 1, plain, None), (8.0, 1, plain, None), (0.5, 3, sharp, None), (0.5, 3, sharp, Some(20))]
            {
                let keys = past + seq;
                let at = |heads: usize, len: usize, seed: u32| {
                    // Heads of a position side by side, as a view.
                    heads_first(on_device([batch, len, heads, width], seed, most, &device))
                };
                let (q, k) = (at(heads, seq, 1), at(kv_heads, keys, 2));
                let v = on_device([batch, kv_heads, keys, width], 3, most, &device);
                let dy = at(heads, seq, 4);
                // Texts of unequal lengths that begin elsewhere in each row.
                let rows = if texts > 1 { batch } else { 1 };
                let begin = |row: usize, query: usize| match texts {
                    1 => 0.0,
                    _ => {
                        [0, seq / 3 + row, seq / 2 + row].into_iter().filter(|b| *b <= query).max().unwrap_or(0) as f32
                    }
                };
                let options = Options { scores, window, bidirectional: false };
                let slides = |query: usize| window.map_or(0.0, |w| (past + query + 1).saturating_sub(w) as f32);
                let firsts = (0..rows).flat_map(|row| (0..seq).map(move |query| begin(row, query).max(slides(query))));
                let firsts = firsts.collect();
                let first = CubeBackend::float_reshape(of_values(firsts, &device), [rows, seq].into());
                let name = format!(
                    "{batch} × {heads} over {kv_heads}, {seq} after {past}, {width}, ±{most}, {texts} texts, {options:?}"
                );

                let whole = Sides::of(&q, &k, &v, options).unwrap();
                let want = reference::forward::<CubeBackend>(q.clone(), k.clone(), v.clone(), first.clone(), options);
                let (want_q, want_k, want_v) = reference::backward::<CubeBackend>(
                    q.clone(),
                    k.clone(),
                    v.clone(),
                    first.clone(),
                    want.clone(),
                    dy.clone(),
                    options,
                );
                // Where one key takes all, p ⊙ (dp − Σ) cancels numbers as large as dp, which then meet k and q.
                let among = (most * most * most * width as f32 / 10.0).max(1.0);
                for each in [1, MANY] {
                    let sides = Sides { each, ..whole };
                    let name = format!("{name}, {each} to an invocation");
                    let [q, k, v, dy] = [&q, &k, &v, &dy].map(CubeTensor::clone);
                    let (y, saved) = attend(&sides, q.clone(), k.clone(), v.clone(), first.clone());
                    assert_close(y.clone(), want.clone(), 2e-5, 1e-3, &name);
                    let (dq, dk, dv) = gradients(&sides, [q, k, v, y, dy], &saved);
                    for (got, want, of) in [(dq, &want_q, "dq"), (dk, &want_k, "dk"), (dv, &want_v, "dv")] {
                        assert_close(got, want.clone(), 5e-5, among, &format!("{of} of {name}"));
                    }
                }
            }
        }
    }

    /// Sliding windows cost what they show, in the form for each kind of adapter, forward and back: of 2,048 keys 64 are a
    /// sixteenth of the mean, and take at most half of the time, however busy the machine is.
    #[test]
    fn keys_outside_of_a_window_take_no_time() {
        let Some(device) = wgpu() else { return };
        let (seq, width) = (2048, 16);
        let [q, k, v, dy] = [1, 2, 3, 4].map(|seed| heads_first(on_device([1, seq, 1, width], seed, 1.0, &device)));
        let whole =
            Sides::of(&q, &k, &v, Options { scores: Scores::of(width), window: None, bidirectional: false }).unwrap();
        let seconds = |window: usize, each: u32| {
            let first = (0..seq).map(|t| (t + 1_usize).saturating_sub(window) as f32).collect();
            let first = CubeBackend::float_reshape(of_values(first, &device), [1, seq].into());
            let sides = Sides { each, ..whole };
            let turn = || {
                let clock = stratune_runtime::Stopwatch::start();
                let (y, saved) = attend(&sides, q.clone(), k.clone(), v.clone(), first.clone());
                numbers(y.clone());
                let forward = clock.seconds();
                let [q, k, v, dy] = [&q, &k, &v, &dy].map(CubeTensor::clone);
                let (dq, _, dv) = gradients(&sides, [q, k, v, y, dy], &saved);
                numbers(dq);
                numbers(dv);
                [forward, clock.seconds() - forward]
            };
            (0..4).map(|_| turn()).reduce(|a, b| [0, 1].map(|i: usize| a[i].min(b[i]))).unwrap()
        };
        for each in [1, MANY] {
            let (all, few) = (seconds(seq, each), seconds(64, each));
            println!("{each} to an invocation: {all:?} s, in a window {few:?} s");
            assert!(few[0] < 0.5 * all[0] && few[1] < 0.5 * all[1], "{each} to an invocation: {all:?}, {few:?}");
        }
    }
}
