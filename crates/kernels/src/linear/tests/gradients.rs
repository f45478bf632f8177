//! The layer, alone and with others, and its gradients against autodiff of the definition.

use burn::tensor::{Device, Tensor};

use super::{QUANTIZED, assert_close, matrix};
use crate::linear::{Factors, Layer, Matrix, group_weights, grouped_linear, linear};
#[cfg(feature = "wgpu")]
use crate::testing::wgpu;
use crate::testing::{noise, values_of};
use crate::{BlockFormat, Compute, Quantized};

/// Which operands want a gradient: `linear` must give exactly those, and the same as autodiff of the definition.
fn gradients_agree(device: &Device) {
    for (batch, seq, features, out) in
        [(1, 1, 1, 1), (1, 3, 5, 2), (1, 7, 8, 8), (2, 67, 72, 132), (1, 64, 64, 64), (3, 37, 8, 97)]
    {
        for (track_x, track_weight) in [(true, false), (false, true), (true, true)] {
            let what = format!("{batch}×{seq}×{features} by {out}, tracked {track_x} {track_weight}");
            let leaf = |t: Tensor<2>, tracked: bool| if tracked { t.autodiff().require_grad() } else { t };
            let operands = || {
                (
                    leaf(matrix(batch * seq, features, 1, device), track_x),
                    leaf(matrix(out, features, 2, device), track_weight),
                )
            };
            let dy = matrix(batch * seq, out, 3, device).autodiff();

            let (x, weight) = operands();
            let y = linear(x.clone().reshape([batch, seq, features]), weight.clone()).reshape([batch * seq, out]);
            let gradients = (y.clone() * dy.clone()).sum().backward();
            let (x0, weight0) = operands();
            let y0 = x0.clone().matmul(weight0.clone().transpose());
            let gradients0 = (y0.clone() * dy).sum().backward();

            assert_close(&values_of(y.inner()), &values_of(y0.inner()), features, &what);
            let pairs = [
                (track_x, x.grad(&gradients), x0.grad(&gradients0), out),
                (track_weight, weight.grad(&gradients), weight0.grad(&gradients0), batch * seq),
            ];
            for (tracked, got, expected, depth) in pairs {
                assert_eq!(got.is_some(), tracked, "{what}");
                if let (Some(got), Some(expected)) = (got, expected) {
                    assert_close(&values_of(got), &values_of(expected), depth, &what);
                }
            }
        }
    }
}

/// Layers that read one input against autodiff of the definition, each with a low-rank update or without, and with a bias or
/// without: values, and exactly the gradients that are wanted. One layer alone is added to something.
fn grouped_layers_agree<const N: usize>(device: &Device) {
    const ALL: [bool; 3] = [true; 3];
    const NONE: [bool; 3] = [false; 3];
    const OUTER: [bool; 3] = [true, false, true];
    for (rows, features, outs, rank) in [
        (1, 1, [1, 2, 1], 1),
        (7, 8, [8, 4, 12], 4),
        (67, 72, [132, 64, 20], 8),
        (37, 12, [97, 5, 8], 3),
        (64, 64, [64, 32, 32], 16),
    ] {
        let some = [0b11111, 0b10000, 0b01110, 0b10001];
        let every: Vec<u32> = (0..16).collect();
        for (updated, biased, tracked) in
            [(ALL, NONE, &every[..]), (NONE, NONE, &[1, 2, 3][..]), (OUTER, ALL, &some[..]), (NONE, OUTER, &some[..])]
        {
            // Of x, of what is added to, of a, of b, of the bias.
            for tracked in tracked {
                let is = |i: usize| *tracked >> i & 1 == 1;
                let what = format!(
                    "{N} of {rows}×{features} by {outs:?}, rank {rank} in {updated:?}, biases {biased:?}, tracked {tracked:05b}"
                );
                let leaf = |t: Tensor<2>, i: usize| if is(i) { t.autodiff().require_grad() } else { t };
                let w: [_; N] = std::array::from_fn(|i| matrix(outs[i], features, 10 + i as u32, device));
                let w: Vec<Tensor<2>> = group_weights(w.into_iter().map(Matrix::from).collect())
                    .into_iter()
                    .map(|w| match w {
                        Matrix::Floats(w) => w,
                        Matrix::Quantized(_) => unreachable!("these are floats"),
                    })
                    .collect();
                // LoRA's A may stay as drawn in one layer and train in another.
                let stays = |i: usize, kind: usize| N > 1 && i == 0 && kind == 0;
                let operands = || {
                    let mut all =
                        vec![leaf(matrix(rows, features, 1, device), 0), leaf(matrix(rows, outs[0], 2, device), 1)];
                    for (i, out) in outs.into_iter().enumerate() {
                        for (kind, [r, c]) in [[rank, features], [out, rank], [1, out]].into_iter().enumerate() {
                            let value = matrix(r, c, 20 + 10 * kind as u32 + i as u32, device);
                            all.push(if stays(i, kind) { value } else { leaf(value, 2 + kind) });
                        }
                    }
                    all
                };
                let factors = |all: &[Tensor<2>], i: usize| {
                    let (a, b) = (all[2 + 3 * i].clone(), all[3 + 3 * i].clone());
                    updated[i].then_some(Factors { a, b, scale: 0.7 })
                };
                let bias = |all: &[Tensor<2>], i: usize| biased[i].then(|| all[4 + 3 * i].clone());
                let loss = |ys: Vec<Tensor<2>>| {
                    let dy = |(i, y): (usize, Tensor<2>)| {
                        let sides = y.dims();
                        (y * matrix(sides[0], sides[1], 50 + i as u32, device)).sum()
                    };
                    ys.into_iter().enumerate().map(dy).reduce(|sum, more| sum + more).unwrap()
                };

                let all = operands();
                let of = std::array::from_fn(|i| Layer {
                    weight: w[i].clone().into(),
                    update: factors(&all, i),
                    bias: bias(&all, i).map(|bias| bias.squeeze_dim(0)),
                    compute: Compute::default(),
                });
                let residual = (N == 1).then(|| all[1].clone().unsqueeze());
                let ys: [Tensor<3>; N] = grouped_linear(all[0].clone().unsqueeze(), of, residual);
                let ys: Vec<Tensor<2>> = ys.into_iter().map(|y| y.squeeze_dim(0)).collect();
                let all0 = operands();
                let want = |i: usize| {
                    let mut y = all0[0].clone().matmul(w[i].clone().transpose());
                    if let Some(Factors { a, b, scale }) = factors(&all0, i) {
                        y = y + all0[0].clone().matmul(a.transpose()).matmul(b.transpose()) * scale;
                    }
                    let more = bias(&all0, i).into_iter().chain((N == 1).then(|| all0[1].clone()));
                    more.fold(y, |y, more| y + more)
                };
                let ys0: Vec<Tensor<2>> = (0..N).map(want).collect();
                let depth = features + rank * features + 2;
                for (y, y0) in ys.iter().zip(&ys0) {
                    let inner = |y: &Tensor<2>| values_of(y.clone());
                    assert_close(&inner(y), &inner(y0), depth, &what);
                }
                let wanted = |i: usize| match i {
                    0 => is(0),
                    1 => is(1) && N == 1,
                    _ => {
                        let (layer, kind) = ((i - 2) / 3, (i - 2) % 3);
                        let there = if kind == 2 { biased } else { updated };
                        is(2 + kind) && layer < N && there[layer] && !stays(layer, kind)
                    }
                };
                if !(0..all.len()).any(wanted) {
                    continue;
                }
                let gradients = loss(ys).backward();
                let gradients0 = loss(ys0).backward();
                for (i, (got, expected)) in all.into_iter().zip(all0).enumerate() {
                    let got = got.grad(&gradients);
                    assert_eq!(got.is_some(), wanted(i), "{what}, operand {i}");
                    let Some((got, expected)) = got.zip(expected.grad(&gradients0)) else { continue };
                    // A sum over rows of sums over a matrix's side, of as many layers.
                    let depth = N * (rows + outs.iter().sum::<usize>()) * rank.max(4);
                    assert_close(&values_of(got), &values_of(expected), depth, &format!("{what}, operand {i}"));
                }
            }
        }
    }
}

/// An output that nothing reads has a gradient of zeros.
fn outputs_may_be_left(device: &Device) {
    let x = matrix(8, 12, 1, device).autodiff().require_grad();
    let weights = [2, 3].map(|seed| matrix(16, 12, seed, device));
    let of = weights.clone().map(|w| Layer { weight: w.into(), update: None, bias: None, compute: Compute::default() });
    let [_, read] = grouped_linear(x.clone().unsqueeze(), of, None);
    let gradients = read.sum().backward();
    let want = Tensor::<2>::ones([8, 16], device).matmul(weights[1].clone());
    assert_close(&values_of(x.grad(&gradients).unwrap()), &values_of(want), 16, "the gradient of one of two");
}

/// A quantized weight is what it is as floats, forward and back, alone and with an update; more columns than a core
/// dequantizes rows at a time, and rows that end within a block; and blocks of GGUF files, some of them half of a pair.
fn quantized_is_dense(device: &Device) {
    for (rows, features, out) in [(1, 1, 1), (7, 33, 5), (3, 64, 200), (67, 72, 132), (1, 100, 260), (5, 0, 68)] {
        let rounded = QUANTIZED.map(|dtype| {
            (features, move |shape: [usize; 2], device: &Device| {
                Quantized::new(&noise(shape[0] * shape[1], 2), shape, dtype, device)
            })
        });
        let of_blocks = BlockFormat::ALL.map(|format| {
            (3 * format.in_file().0, move |shape: [usize; 2], device: &Device| {
                Quantized::of_blocks(&format.noise(shape), shape, format, device)
            })
        });
        let rounded = rounded.into_iter().map(|(features, made)| (features, made([out, features], device)));
        let of_blocks = of_blocks.into_iter().map(|(features, made)| (features, made([out, features], device)));
        let all: Vec<_> = if features > 0 { rounded.collect() } else { of_blocks.collect() };
        for (features, quantized) in all {
            let what = format!("{:?}, {rows}×{features} by {out}", quantized.format());
            let dy = matrix(rows, out, 3, device);
            let run = |weight: Matrix| {
                let [x, a, b] = [(rows, features, 1), (4, features, 4), (out, 4, 5)]
                    .map(|(r, c, seed)| matrix(r, c, seed, device).autodiff().require_grad());
                let alone = linear(x.clone().unsqueeze(), weight.clone());
                let layer = |weight: Matrix, factor: f32| Layer {
                    weight,
                    update: Some(Factors { a: a.clone() * factor, b: b.clone(), scale: 0.7 }),
                    bias: None,
                    compute: Compute::default(),
                };
                let laid = group_weights(vec![weight.clone(), weight]);
                let both = std::array::from_fn(|i| layer(laid[i].clone(), 1.0 + i as f32));
                let [one, other] = grouped_linear(x.clone().unsqueeze(), both, None);
                let y = (alone + one + other).squeeze_dim::<2>(0);
                let gradients = (y.clone() * dy.clone().autodiff()).sum().backward();
                let of = |t: Tensor<2>| values_of(t.grad(&gradients).unwrap());
                [values_of(y.inner()), of(x), of(a), of(b)]
            };
            let got = run(Matrix::Quantized(quantized.clone()));
            let want = run(quantized.dense().into());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_close(got, want, 24 * (features + out + rows), &format!("{what}, {i}"));
            }
        }
    }
}

#[cfg(feature = "cpu")]
#[test]
fn gradients_agree_on_the_cpu() {
    gradients_agree(&Device::flex());
    grouped_layers_agree::<1>(&Device::flex());
    grouped_layers_agree::<3>(&Device::flex());
    outputs_may_be_left(&Device::flex());
    quantized_is_dense(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn gradients_agree_on_wgpu() {
    if let Some(device) = wgpu() {
        gradients_agree(&device);
        grouped_layers_agree::<1>(&device);
        grouped_layers_agree::<3>(&device);
        outputs_may_be_left(&device);
        quantized_is_dense(&device);
    }
}
