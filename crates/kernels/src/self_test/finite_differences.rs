//! Are the gradients on this device the slopes of its values?

use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::read_f32;

use super::Fault;
use super::host::{gradient_of, two_texts, wave};
use crate::{
    Activation, AttentionMask, Compute, Factors, HeadNorms, Layer, Matrix, Quantized, QuantizedDtype, Rotary, Scores,
    activation, attention, feed_forward, group_weights, grouped_linear, layer_norm, linear, rms_norm,
    rms_norm_residual, self_attention, swiglu,
};

/// Two layers with low-rank updates as a model has them, the second with a bias: matrices and factors of both in one
/// buffer, and so the gradients that come back.
fn updated(x: &Tensor<3>) -> [Layer; 2] {
    let device = x.device().inner();
    let of = |sides: [usize; 2], step| {
        Tensor::<2>::from_data(TensorData::new(wave(sides[0] * sides[1], step), sides), &device)
    };
    let weights = group_weights([of([12, 12], 0.3), of([12, 12], 0.5)].map(Matrix::from).into());
    let factors = [of([8, 12], 0.7), of([8, 12], 0.4), of([12, 8], 1.1), of([12, 8], 0.8)];
    let factors = group_weights(factors.map(Matrix::from).into());
    let floats = |matrix: &Matrix| match matrix {
        Matrix::Floats(tensor) => tensor.clone(),
        Matrix::Quantized(quantized) => quantized.dense(),
    };
    [0, 1].map(|i: usize| {
        let update = Factors { a: floats(&factors[i]), b: floats(&factors[2 + i]), scale: 0.5 };
        let bias = (i == 1).then(|| Tensor::from_data(TensorData::new(wave(12, 0.2), [12]), &device));
        Layer { weight: weights[i].clone(), update: Some(update), bias, compute: Compute::default() }
    })
}

/// The gradients of what a block is made of along one direction, beside the slope between two values. The
/// step of 1e-2 leaves 1e-3 of third order and of rounding; a wrong gradient is off by the values themselves.
pub async fn gradients_are_finite_differences(device: &Device) -> Result<(), Fault> {
    type Op = fn(Tensor<3>) -> Tensor<3>;
    const SHAPE: [usize; 3] = [1, 9, 12];
    const PLAIN: Scores = Scores { scale: 0.5, softcap: None };
    const CAPPED: Scores = Scores { scale: 0.1, softcap: Some(2.0) };
    fn attended(x: Tensor<3>, mask: &AttentionMask, scores: Scores) -> Tensor<3> {
        let heads = |t: Tensor<3>| t.reshape([1, 9, 3, 4]).swap_dims(1, 2);
        let attended = attention(heads(x.clone()), heads(x.clone().flip([2])), heads(x), mask, scores);
        attended.swap_dims(1, 2).reshape(SHAPE)
    }
    let ops: [(&str, Op); 16] = [
        ("linear of a quantized matrix", |x| {
            let values = wave(12 * 12, 0.3);
            linear(
                x.clone(),
                Matrix::Quantized(Quantized::new(&values, [12, 12], QuantizedDtype::Int4, &x.device().inner())),
            )
        }),
        ("layers with low-rank updates", |x| {
            let [one, other] = updated(&x);
            let [gate, up] = grouped_linear(x.clone(), [one.clone(), other], None);
            let [residual] = grouped_linear(swiglu(gate, up), [one], Some(x));
            residual
        }),
        ("feed_forward", |x| {
            let [gate, up] = updated(&x);
            feed_forward(x.clone(), gate.clone(), up, gate, Some(x))
        }),
        ("self_attention over two texts", |x| {
            let device = x.device().inner();
            let [q, k] = updated(&x);
            let cos_sin = Rotary::new(4, 9, 100.0, &device).cos_sin_after(0, 9);
            self_attention(x, &[q.clone(), k, q], 4, &cos_sin, &two_texts(9, 4, &device), PLAIN, None)
        }),
        ("self_attention of capped scores in a window", |x| {
            let device = x.device().inner();
            let [q, k] = updated(&x);
            let cos_sin = Rotary::new(4, 9, 100.0, &device).cos_sin_after(0, 9);
            let mask = AttentionMask::causal(9, &device).sliding_window(4, 0);
            self_attention(x, &[q.clone(), k, q], 4, &cos_sin, &mask, CAPPED, None)
        }),
        ("self_attention with norms of heads", |x| {
            let device = x.device().inner();
            let [q, k] = updated(&x);
            let cos_sin = Rotary::new(4, 9, 100.0, &device).cos_sin_after(0, 9);
            let weight = |step| Tensor::from_data(TensorData::new(wave(4, step), [4]), &device);
            let norms = HeadNorms { q: weight(0.9), k: weight(1.3), offset: 0.5, eps: 1e-5 };
            self_attention(x, &[q.clone(), k, q], 4, &cos_sin, &two_texts(9, 4, &device), PLAIN, Some(norms))
        }),
        ("rotary", |x| {
            let cos_sin = Rotary::new(4, 9, 100.0, &x.device().inner()).cos_sin_after(0, 9);
            let heads = |t: Tensor<3>| t.reshape([1, 9, 3, 4]).swap_dims(1, 2);
            let [q, k, v] = cos_sin.apply_rotary(heads(x.clone()), heads(x.clone().flip([1])), heads(x.flip([2])));
            (q * k + v).swap_dims(1, 2).reshape(SHAPE)
        }),
        ("rms_norm", |x| {
            let weight = Tensor::from_data(TensorData::new(wave(12, 0.9), [12]), &x.device().inner());
            let (past, normed) = rms_norm_residual(x, weight.clone(), 1e-5);
            rms_norm(past * normed.clone(), weight, 1e-5) + normed
        }),
        ("swiglu", |x| swiglu(x.clone(), x.flip([1]))),
        ("attention", |x| {
            let mask = AttentionMask::causal(9, &x.device().inner());
            attended(x, &mask, PLAIN)
        }),
        ("attention over two texts", |x| {
            let mask = two_texts(9, 4, &x.device().inner());
            attended(x, &mask, PLAIN)
        }),
        ("attention within two texts", |x| {
            let mask = AttentionMask::within_texts(two_texts(9, 4, &x.device().inner()).first());
            attended(x, &mask, PLAIN)
        }),
        ("self_attention within two texts, without positions", |x| {
            let device = x.device().inner();
            let [q, k] = updated(&x);
            let cos_sin = Rotary::none(4, &device).cos_sin_after(0, 9);
            let mask = AttentionMask::within_texts(two_texts(9, 4, &device).first());
            self_attention(x, &[q.clone(), k, q], 4, &cos_sin, &mask, PLAIN, None)
        }),
        ("layer_norm", |x| {
            let of = |step| Tensor::from_data(TensorData::new(wave(12, step), [12]), &x.device().inner());
            layer_norm(x.clone(), of(0.9), of(1.7), 1e-5)
        }),
        ("gelu", |x| activation(x, Activation::Gelu)),
        ("attention of capped scores in a window", |x| {
            let mask = two_texts(9, 4, &x.device().inner()).sliding_window(3, 0);
            attended(x, &mask, CAPPED)
        }),
    ];
    let of = |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, SHAPE), device);
    let count = SHAPE.iter().product();
    let (start, weights, way) = (wave(count, 0.37), wave(count, 0.61), wave(count, 0.83));
    for (name, op) in ops {
        let x = of(start.clone()).autodiff().require_grad();
        let mut tape = (op(x.clone()) * of(weights.clone())).sum().backward();
        let gradient = read_f32(gradient_of(&x, &mut tape)?).await?;
        let along: f32 = gradient.iter().zip(&way).map(|(g, w)| g * w).sum();
        let mut sums = Vec::new();
        for h in [1e-2, -1e-2] {
            let nudged = of(start.iter().zip(&way).map(|(x, w)| x + h * w).collect());
            let y = read_f32(op(nudged)).await?;
            sums.push(y.iter().zip(&weights).map(|(y, w)| y * w).sum::<f32>());
        }
        let slope = (sums[0] - sums[1]) / 2e-2;
        if (slope - along).abs() > 0.02 * along.abs().max(1.0) || along.is_nan() {
            return Err(Fault::Wrong(format!("gradient of {name} is {along} where the values rise by {slope}")));
        }
    }
    Ok(())
}
