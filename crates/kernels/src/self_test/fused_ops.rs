//! Do attention and feed-forward of a block, each one operation, give what their parts give on this device?

use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::read_f32;

use super::host::{compare, gradient_of, two_texts, wave};
use super::{Fault, MAX, NARROW, Sizes};
use crate::{
    AttentionMask, Compute, CosSin, Factors, HeadNorms, Layer, Matrix, Rotary, Scores, WeightFormat, attention,
    feed_forward, group_weights, grouped_linear, rms_norm, self_attention, swiglu,
};

/// What layers have beside their matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Each an update, none a bias.
    Updates,
    /// Each a bias, and all but the second an update.
    Biases,
    /// Each an update, and heads of queries and keys have norms.
    Norms,
}

/// Layers that read one input, and what they train, which is tracked: in one buffer, as a model has it.
struct Updated {
    layers: Vec<Layer>,
    trained: Vec<Tensor<2>>,
}

impl Updated {
    /// Of these sides, `[out, in]`, with another sequence of numbers for each step.
    fn new(sides: &[[usize; 2]], step: f32, format: Option<WeightFormat>, beside: Beside, device: &Device) -> Self {
        let numbers = |[out, inner]: [usize; 2], step: f32| -> Vec<f32> {
            // So that what comes out is of the size of what goes in.
            let scale = (inner as f32).sqrt().recip();
            wave(out * inner, step).into_iter().map(|number| scale * number).collect()
        };
        let steps = || (0..sides.len()).map(|i| step + 0.1 * i as f32);
        let floats =
            |sides: [usize; 2], step| Tensor::<2>::from_data(TensorData::new(numbers(sides, step), sides), device);
        let weight = |(sides, step): (&[usize; 2], f32)| match format {
            None => Matrix::Floats(floats(*sides, step)),
            Some(format) => Matrix::Quantized(format.made_of(&numbers(*sides, step), *sides, device).0),
        };
        let weights = group_weights(sides.iter().zip(steps()).map(weight).collect());
        let biased = beside == Beside::Biases;
        let updated = |i: usize| !biased || i != 1;
        let parts = sides.iter().zip(steps()).enumerate().flat_map(|(i, ([out, inner], step))| {
            let factors = [floats([NARROW, *inner], step + 0.03), floats([*out, NARROW], step + 0.07)];
            let bias = biased.then(|| floats([1, *out], step + 0.05));
            updated(i).then_some(factors).into_iter().flatten().chain(bias).map(Matrix::from).collect::<Vec<_>>()
        });
        let tracked = |part: Matrix| match part {
            Matrix::Floats(part) => Some(part.autodiff().require_grad()),
            Matrix::Quantized(_) => None,
        };
        let trained: Vec<_> = group_weights(parts.collect()).into_iter().filter_map(tracked).collect();
        let mut parts = trained.iter().cloned();
        let mut layers = Vec::new();
        for (i, weight) in weights.into_iter().enumerate() {
            let factors = if updated(i) { parts.next().zip(parts.next()) } else { None };
            let update = factors.map(|(a, b)| Factors { a, b, scale: 0.5 });
            let bias = if biased { parts.next().map(|bias| bias.squeeze_dim(0)) } else { None };
            layers.push(Layer { weight, update, bias, compute: Compute::default() });
        }
        Self { layers, trained }
    }
}

type Operation<'a> = &'a dyn Fn(Tensor<3>, &[Layer]) -> Tensor<3>;

/// Values, and the gradients of the input and of all that trains, of an operation and of its parts.
async fn same(
    name: &str,
    [whole, parts]: [Operation<'_>; 2],
    made: impl Fn() -> Vec<Updated>,
    [rows, hidden]: [usize; 2],
    device: &Device,
) -> Result<(), Fault> {
    let mut of_both = Vec::new();
    for operation in [whole, parts] {
        let x = Tensor::<3>::from_data(TensorData::new(wave(rows * hidden, 0.37), [1, rows, hidden]), device);
        let (x, updated) = (x.autodiff().require_grad(), made());
        let layers: Vec<Layer> = updated.iter().flat_map(|group| group.layers.clone()).collect();
        let y = operation(x.clone(), &layers);
        let (sides, value) = (y.dims(), y.clone().inner());
        let dy = Tensor::<3>::from_data(TensorData::new(wave(sides.iter().product(), 0.83), sides), device);
        let mut tape = (y * dy.autodiff()).sum().backward();
        let mut read = vec![read_f32(value).await?, read_f32(gradient_of(&x, &mut tape)?).await?];
        for trained in updated.iter().flat_map(|group| &group.trained) {
            read.push(read_f32(gradient_of(trained, &mut tape)?).await?);
        }
        of_both.push(read);
    }
    let (parts, whole) = (of_both.pop(), of_both.pop());
    for (i, (got, want)) in whole.iter().flatten().zip(parts.iter().flatten()).enumerate() {
        let what = match i {
            0 => name.to_string(),
            1 => format!("the input's gradient of {name}"),
            _ => format!("the gradient of matrix {} of {name}", i - 2),
        };
        compare(&what, got, want)?;
    }
    Ok(())
}

/// Both at the sizes of a run, with matrices as it keeps them, as far as [`MAX`] numbers go.
pub async fn fused_ops_are_right(device: &Device, of: &Sizes, beside: Beside) -> Result<(), Fault> {
    let Sizes { heads, kv_heads, head_dim, seq, .. } = *of;
    let format = of.formats.first().copied();
    let whole = |side: usize| format.map_or(side, |format| format.whole_blocks(side));
    let within = |side: usize, other: usize| whole(side.min((MAX / other.max(1)).next_multiple_of(4)));
    let hidden = within(of.hidden, heads * head_dim);
    let (cos_sin, mask) =
        (Rotary::new(head_dim, seq, 10_000.0, device).cos_sin_after(0, seq), two_texts(seq, seq / 2, device));
    let sides = [heads, kv_heads, kv_heads].map(|heads| [heads * head_dim, hidden]);
    let norms = || {
        let weight = |step| Tensor::<1>::from_data(TensorData::new(wave(head_dim, step), [head_dim]), device);
        (beside == Beside::Norms).then(|| HeadNorms { q: weight(0.9), k: weight(1.3), offset: 1.0, eps: 1e-5 })
    };
    type Attended = fn(Tensor<3>, &[Layer; 3], usize, &CosSin, &AttentionMask, Scores, Option<HeadNorms>) -> Tensor<3>;
    let by = |attended: Attended| {
        let (cos_sin, mask) = (&cos_sin, &mask);
        move |x: Tensor<3>, of: &[Layer]| match of {
            [q, k, v] => {
                let layers = [q.clone(), k.clone(), v.clone()];
                attended(x, &layers, head_dim, cos_sin, mask, Scores::of(head_dim), norms())
            }
            _ => x,
        }
    };
    let (attended, of_parts) = (by(self_attention), by(attended_by_parts));
    let made = || vec![Updated::new(&sides, 0.53, format, beside, device)];
    let name =
        format!("attention of {hidden} over {heads} and {kv_heads} heads of {head_dim} at {seq} with {beside:?}");
    same(&name, [&attended, &of_parts], made, [seq, hidden], device).await?;

    let (hidden, intermediate) = (whole(of.hidden), within(of.intermediate, of.hidden));
    let fed = |x: Tensor<3>, of: &[Layer]| match of {
        [gate, up, down] => feed_forward(x.clone(), gate.clone(), up.clone(), down.clone(), Some(x)),
        _ => x,
    };
    let of_parts = |x: Tensor<3>, of: &[Layer]| match of {
        [gate, up, down] => fed_by_parts(x.clone(), gate.clone(), up.clone(), down.clone(), Some(x)),
        _ => x,
    };
    let made = || {
        let inner = Updated::new(&[[intermediate, hidden]; 2], 0.41, format, beside, device);
        vec![inner, Updated::new(&[[hidden, intermediate]], 0.67, format, beside, device)]
    };
    let name = format!("feed-forward layer of {hidden} × {intermediate} with {beside:?}");
    same(&name, [&fed, &of_parts], made, [seq, hidden], device).await
}

/// [`self_attention`], each of its parts an operation.
pub fn attended_by_parts(
    x: Tensor<3>,
    of: &[Layer; 3],
    head_dim: usize,
    cos_sin: &CosSin,
    mask: &AttentionMask,
    scores: Scores,
    norms: Option<HeadNorms>,
) -> Tensor<3> {
    let [batch, seq, _] = x.dims();
    let [q, k, v] = grouped_linear(x, of.clone(), None).map(|t| {
        let [_, _, width] = t.dims();
        t.reshape([batch, seq, width / head_dim, head_dim]).swap_dims(1, 2)
    });
    let [q, k] = match norms {
        None => [q, k],
        Some(HeadNorms { q: of_q, k: of_k, offset, eps }) => [(q, of_q), (k, of_k)].map(|(heads, weight)| {
            let sides = heads.dims();
            let rows = heads.reshape([1, sides.iter().product::<usize>() / head_dim, head_dim]);
            rms_norm(rows, weight.add_scalar(offset), eps).reshape(sides)
        }),
    };
    let [q, k, v] = cos_sin.apply_rotary(q, k, v);
    let y = attention(q, k, v, mask, scores).swap_dims(1, 2);
    let [_, _, heads, _] = y.dims();
    y.reshape([batch, seq, heads * head_dim])
}

/// [`feed_forward`], each of its parts an operation.
pub fn fed_by_parts(x: Tensor<3>, gate: Layer, up: Layer, down: Layer, residual: Option<Tensor<3>>) -> Tensor<3> {
    let [gate, up] = grouped_linear(x, [gate, up], None);
    let [y] = grouped_linear(swiglu(gate, up), [down], residual);
    y
}
