//! Are the answers of this device right?

use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::read_f32;

use crate::cross_entropy::{Wanted, linear_cross_entropy};
use crate::{
    AdamwStep, Matrix, Packed, PackedDtype, Rotary, Sight, adamw, causal_attention, global_norm, linear,
    low_rank_linear, rms_norm, swiglu,
};

/// Compares the operations of a training step on `device` with sums made on the host, values and a gradient.
///
/// Some adapters compute nonsense without an error (an invalid shader, a driver's defect); a run must never start on one.
///
/// # Errors
/// Names the first operation that is wrong, or why the device does not answer.
pub async fn self_test(device: &Device) -> Result<(), String> {
    // Primes, which are left to the engine's own product; and one for our kernel where there is one, beyond its tile.
    for (rows, inner, out) in [(37, 43, 29), (131, 72, 68)] {
        linear_is_right(device, rows, inner, out).await?;
    }
    for dtype in [PackedDtype::F16, PackedDtype::Int8, PackedDtype::Int4] {
        packed_is_right(device, dtype).await?;
    }

    let (rows, inner) = (37, 48);
    let a = wave(rows * inner, 0.37);
    let x = Tensor::<3>::from_data(TensorData::new(a.clone(), [1, rows, inner]), device);
    let normed: Vec<f32> = a
        .chunks(inner)
        .flat_map(|row| {
            let scale = (row.iter().map(|v| v * v).sum::<f32>() / inner as f32 + 1e-5).sqrt().recip();
            row.iter().map(move |v| v * scale).collect::<Vec<_>>()
        })
        .collect();
    check("rms_norm", rms_norm(x.clone(), Tensor::ones([inner], device), 1e-5), &normed).await?;

    let gated: Vec<f32> = a.iter().map(|v| v / (1.0 + (-v).exp()) * v).collect();
    check("swiglu", swiglu(x.clone(), x.clone()), &gated).await?;

    gradients_are_slopes(device).await?;
    loss_is_right(device).await?;
    step_is_right(device).await?;

    let (heads, seq, head_dim) = (3, 37, 16);
    let heads_first = x.reshape([1, seq, heads, head_dim]).swap_dims(1, 2);
    for (name, begins, sight) in [
        ("causal_attention", 0, Sight::whole(seq, device)),
        ("causal_attention over two texts", 21, two_texts(seq, 21, device)),
    ] {
        let [q, k, v] = [0; 3].map(|_| heads_first.clone());
        let attended = causal_attention(q, k, v, &sight).swap_dims(1, 2).reshape([1, seq, inner]);
        check(name, attended, &attention_on_host(&a, heads, head_dim, begins)).await?;
    }
    Ok(())
}

/// The sight of a row in which a second text begins at the query numbered `begins`.
fn two_texts(seq: usize, begins: usize, device: &Device) -> Sight {
    let first = (0..seq).map(|t| if t < begins { 0.0 } else { begins as f32 }).collect::<Vec<_>>();
    Sight::since(Tensor::from_data(TensorData::new(first, [1, seq]), device))
}

/// The gradients of what a block is made of along one direction, beside the slope between two values. The
/// step of 1e-2 leaves 1e-3 of third order and of rounding; a wrong gradient is off by the values themselves.
async fn gradients_are_slopes(device: &Device) -> Result<(), String> {
    type Op = fn(Tensor<3>) -> Tensor<3>;
    const SHAPE: [usize; 3] = [1, 9, 12];
    fn attended(x: Tensor<3>, sight: &Sight) -> Tensor<3> {
        let heads = |t: Tensor<3>| t.reshape([1, 9, 3, 4]).swap_dims(1, 2);
        let attended = causal_attention(heads(x.clone()), heads(x.clone().flip([2])), heads(x), sight);
        attended.swap_dims(1, 2).reshape(SHAPE)
    }
    let ops: [(&str, Op); 7] = [
        ("linear of a packed matrix", |x| {
            let values = wave(12 * 12, 0.3);
            linear(x.clone(), Matrix::Packed(Packed::new(&values, [12, 12], PackedDtype::Int4, &x.device().inner())))
        }),
        ("low_rank_linear", |x| {
            let device = x.device().inner();
            let of = |sides: [usize; 2], step| {
                Tensor::<2>::from_data(TensorData::new(wave(sides[0] * sides[1], step), sides), &device)
            };
            low_rank_linear(x, of([12, 12], 0.3), of([4, 12], 0.7), of([12, 4], 1.1), 0.5)
        }),
        ("rotary", |x| {
            let angles = Rotary::new(4, 9, 100.0, None, &x.device().inner()).angles_after(0, 9);
            angles.turn(x.reshape([1, 9, 3, 4]).swap_dims(1, 2)).swap_dims(1, 2).reshape(SHAPE)
        }),
        ("rms_norm", |x| {
            let weight = Tensor::from_data(TensorData::new(wave(12, 0.9), [12]), &x.device().inner());
            rms_norm(x, weight, 1e-5)
        }),
        ("swiglu", |x| swiglu(x.clone(), x.flip([1]))),
        ("causal_attention", |x| {
            let sight = Sight::whole(9, &x.device().inner());
            attended(x, &sight)
        }),
        ("causal_attention over two texts", |x| {
            let sight = two_texts(9, 4, &x.device().inner());
            attended(x, &sight)
        }),
    ];
    let of = |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, SHAPE), device);
    let count = SHAPE.iter().product();
    let (start, weights, way) = (wave(count, 0.37), wave(count, 0.61), wave(count, 0.83));
    for (name, op) in ops {
        let x = of(start.clone()).autodiff().require_grad();
        let mut tape = (op(x.clone()) * of(weights.clone())).sum().backward();
        let gradient = x.grad_remove(&mut tape).ok_or(format!("{name}: no gradient"))?;
        let gradient = read_f32(gradient).await.map_err(|p| format!("{name}: {p}"))?;
        let along: f32 = gradient.iter().zip(&way).map(|(g, w)| g * w).sum();
        let mut sums = Vec::new();
        for h in [1e-2, -1e-2] {
            let nudged = of(start.iter().zip(&way).map(|(x, w)| x + h * w).collect());
            let y = read_f32(op(nudged)).await.map_err(|p| format!("{name}: {p}"))?;
            sums.push(y.iter().zip(&weights).map(|(y, w)| y * w).sum::<f32>());
        }
        let slope = (sums[0] - sums[1]) / 2e-2;
        if (slope - along).abs() > 0.02 * along.abs().max(1.0) || along.is_nan() {
            return Err(format!("gradient of {name} is {along} where the values rise by {slope}"));
        }
    }
    Ok(())
}

/// The loss of five rows among twenty tokens, and its gradient with respect to the rows.
async fn loss_is_right(device: &Device) -> Result<(), String> {
    const SIDES: [usize; 3] = [9, 12, 20];
    let [rows, width, vocabulary] = SIDES;
    let (h, w) = (wave(rows * width, 0.37), wave(vocabulary * width, 0.73));
    let target = |row: usize| row * 7 % vocabulary;
    let mut loss = 0.0;
    let mut expected = Vec::new();
    for (row, h) in h.chunks(width).enumerate() {
        let powers: Vec<f32> =
            w.chunks(width).map(|w| w.iter().zip(h).map(|(w, h)| w * h).sum::<f32>().exp()).collect();
        let total: f32 = powers.iter().sum();
        loss -= (powers[target(row)] / total).ln();
        let error = |j: usize| powers[j] / total - if j == target(row) { 1.0 } else { 0.0 };
        expected.extend((0..width).map(|i| (0..vocabulary).map(|j| 0.5 * error(j) * w[j * width + i]).sum::<f32>()));
    }
    let matrix = |values: Vec<f32>| {
        let sides = [values.len() / width, width];
        Tensor::<2>::from_data(TensorData::new(values, sides), device)
    };
    let targets: Vec<i32> = (0..rows).map(|row| target(row) as i32).collect();
    let targets = Tensor::from_data(TensorData::new(targets, [rows]), device);
    let entropy = linear_cross_entropy(matrix(h), &[matrix(w).into()], targets, 0.5, Wanted::Hidden);
    check("cross-entropy", entropy.loss.unsqueeze(), &[loss]).await?;
    let gradient = entropy.d_hidden.ok_or("cross-entropy: no gradient")?;
    check("gradient of cross-entropy", gradient.unsqueeze(), &expected).await
}

/// The second step of AdamW, and the norm of two gradients.
async fn step_is_right(device: &Device) -> Result<(), String> {
    let numbers = wave(70, 0.37);
    let tensor = |values: Vec<f32>| {
        let count = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [count]), device)
    };
    let step = AdamwStep { rate: 0.1, beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8, weight_decay: 0.1, time: 2 };
    let squares = numbers.iter().map(|x| x * x).collect();
    let moments = [tensor(numbers.clone()), tensor(squares)];
    let moved = adamw(tensor(numbers.clone()), tensor(numbers.clone()), &tensor(vec![2.0]), moments, step);
    // m = 0.9 x + 0.1 · 2x over 1 − 0.9², v = 0.99 x² + 0.01 · 4x² over 1 − 0.99².
    let delta = |x: f32| 0.1 * (1.1 * x / 0.19) / ((1.03 * x * x / 0.0199).sqrt() + 1e-8);
    let expected: Vec<f32> = numbers.iter().map(|x| 0.99 * x - delta(*x)).collect();
    check("adamw", moved.value.unsqueeze(), &expected).await?;

    let norm = numbers.iter().map(|x| 2.0 * x * x).sum::<f32>().sqrt();
    let both = [tensor(numbers.clone()), tensor(numbers)];
    check("norm of gradients", global_norm(both.iter(), device).unsqueeze(), &[norm]).await
}

/// The layer and the gradients of both its operands, with the output itself as the gradient that comes back.
async fn linear_is_right(device: &Device, rows: usize, inner: usize, out: usize) -> Result<(), String> {
    let a = wave(rows * inner, 0.37);
    let w = wave(out * inner, 0.73);
    let x = Tensor::<3>::from_data(TensorData::new(a.clone(), [1, rows, inner]), device).autodiff().require_grad();
    let weight = Tensor::<2>::from_data(TensorData::new(w.clone(), [out, inner]), device).autodiff().require_grad();

    let product: Vec<f32> =
        (0..rows * out).map(|i| (0..inner).map(|k| a[i / out * inner + k] * w[i % out * inner + k]).sum()).collect();
    let y = linear(x.clone(), weight.clone());
    check("linear", y.clone().inner(), &product).await?;

    let gradients = (y.clone() * y.inner().autodiff()).sum().backward();
    let dx: Vec<f32> = (0..rows * inner)
        .map(|i| (0..out).map(|o| product[i / inner * out + o] * w[o * inner + i % inner]).sum())
        .collect();
    let gradient = x.grad(&gradients).ok_or("linear: no gradient")?;
    check("gradient of linear", gradient, &dx).await?;
    let dw: Vec<f32> = (0..out * inner)
        .map(|i| (0..rows).map(|r| product[r * out + i / inner] * a[r * inner + i % inner]).sum())
        .collect();
    let gradient = weight.grad(&gradients).ok_or("linear: no gradient of the weight")?;
    check("gradient of linear's weight", gradient.unsqueeze(), &dw).await
}

/// The values of a layer whose matrix is packed; its rows end within a block.
async fn packed_is_right(device: &Device, dtype: PackedDtype) -> Result<(), String> {
    let (rows, inner, out) = (9, 72, 68);
    let x = wave(rows * inner, 0.37);
    let values = wave(out * inner, 0.73);
    let w: Vec<f32> = values.chunks(inner).flat_map(|row| dtype.rounded(row)).collect();
    let product: Vec<f32> =
        (0..rows * out).map(|i| (0..inner).map(|k| x[i / out * inner + k] * w[i % out * inner + k]).sum()).collect();
    let x = Tensor::<3>::from_data(TensorData::new(x, [1, rows, inner]), device);
    let packed = Packed::new(&values, [out, inner], dtype, device);
    check(&format!("linear of {dtype:?}"), linear(x, Matrix::Packed(packed)), &product).await
}

/// Of a row in which a second text begins at the query numbered `begins`.
fn attention_on_host(x: &[f32], heads: usize, head_dim: usize, begins: usize) -> Vec<f32> {
    let seq = x.len() / (heads * head_dim);
    let at = |t: usize, h: usize| &x[(t * heads + h) * head_dim..(t * heads + h + 1) * head_dim];
    let mut out = vec![0.0; x.len()];
    for (t, h) in (0..seq).flat_map(|t| (0..heads).map(move |h| (t, h))) {
        let score = |s| at(t, h).iter().zip(at(s, h)).map(|(q, k)| q * k).sum::<f32>() / (head_dim as f32).sqrt();
        let first = if t < begins { 0 } else { begins };
        let weights: Vec<f32> = (first..=t).map(|s| f32::exp(score(s))).collect();
        let total: f32 = weights.iter().sum();
        for (s, weight) in (first..).zip(&weights) {
            for (i, v) in at(s, h).iter().enumerate() {
                out[(t * heads + h) * head_dim + i] += weight / total * v;
            }
        }
    }
    out
}

/// A fixed sequence between −1 and 1 without a pattern that an error could hide in.
fn wave(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step + (i % 11) as f32).sin()).collect()
}

async fn check(name: &str, got: Tensor<3>, expected: &[f32]) -> Result<(), String> {
    let got = read_f32(got).await.map_err(|p| format!("{name}: {p}"))?;
    let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let worst = got
        .iter()
        .zip(expected)
        .map(|(g, e)| (g - e).abs())
        .fold(0.0, |m: f32, d| if d >= m || d.is_nan() { d } else { m });
    // 48 products in f32, in any order, leave 1e-5; a wrong kernel is off by the values themselves.
    if got.len() == expected.len() && worst <= 1e-4 * largest {
        Ok(())
    } else {
        Err(format!("{name} is off by {worst:e} where the largest value is {largest}"))
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_passes_and_a_wrong_answer_does_not() {
        let device = Device::flex();
        stratune_runtime::block_on(async {
            assert_eq!(self_test(&device).await, Ok(()));
            let zeros = Tensor::<3>::zeros([1, 1, 3], &device);
            assert!(check("zeros", zeros, &[0.0, 0.0, 1.0]).await.is_err());
            let nan = Tensor::<3>::full([1, 1, 1], f32::NAN, &device);
            assert!(check("nan", nan, &[0.0]).await.is_err());
        });
    }
}
