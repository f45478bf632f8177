//! The layer and its gradients against autodiff of the definition, and the kernel against products made on the host.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor, TensorData};

use super::{Matrix, linear, low_rank_linear};
use crate::{Packed, PackedDtype};

#[cfg(feature = "wgpu")]
use crate::testing::wgpu;

/// Numbers in −1..1 that repeat only after 2³² of them.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn matrix(rows: usize, columns: usize, seed: u32, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(noise(rows * columns, seed), [rows, columns]), device)
}

fn values_of<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Sums of `depth` products of numbers below 1, in f32 in another order. Not a number is never close.
fn assert_close(got: &[f32], expected: &[f32], depth: usize, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let allowed = 1e-6 * depth as f32 + 1e-6;
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= allowed, "{what}: at {i} {g} instead of {e}");
    }
}

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

/// The same with a low-rank update: sixteen ways to track four operands.
fn low_rank_gradients_agree(device: &Device) {
    for (rows, features, out, rank) in [(1, 1, 1, 1), (7, 8, 8, 4), (67, 72, 132, 8), (37, 12, 97, 3), (64, 64, 64, 16)]
    {
        for tracked in 0..16 {
            let is = |i: u32| tracked >> i & 1 == 1;
            let what = format!("{rows}×{features} by {out} of rank {rank}, tracked {tracked:04b}");
            let leaf = |t: Tensor<2>, tracked: bool| if tracked { t.autodiff().require_grad() } else { t };
            let operands = || {
                [(rows, features, 1), (out, features, 2), (rank, features, 4), (out, rank, 5)]
                    .map(|(r, c, seed)| matrix(r, c, seed, device))
            };
            let track = |of: [Tensor<2>; 4]| {
                let mut i = 0..;
                of.map(|t| leaf(t, i.next().is_some_and(is)))
            };
            let dy = matrix(rows, out, 3, device);
            let [x, w, a, b] = track(operands());
            let y = low_rank_linear(x.clone().unsqueeze(), w.clone(), a.clone(), b.clone(), 0.7).squeeze_dim::<2>(0);
            let [x0, w0, a0, b0] = track(operands());
            let t0 = x0.clone().matmul(a0.clone().transpose());
            let y0 = x0.clone().matmul(w0.clone().transpose()) + t0.matmul(b0.clone().transpose()) * 0.7;
            let depth = features + rank * features;
            if tracked == 0 {
                assert_close(&values_of(y), &values_of(y0), depth, &what);
                continue;
            }
            assert_close(&values_of(y.clone().inner()), &values_of(y0.clone().inner()), depth, &what);
            let gradients = (y * dy.clone().autodiff()).sum().backward();
            let gradients0 = (y0 * dy.autodiff()).sum().backward();
            for (i, (got, expected)) in [(x, x0), (w, w0), (a, a0), (b, b0)].into_iter().enumerate() {
                if !is(i as u32) {
                    continue;
                }
                let (got, expected) = (got.grad(&gradients).unwrap(), expected.grad(&gradients0).unwrap());
                // A sum over rows of sums over a matrix's side.
                let depth = (rows + out) * rank.max(4);
                assert_close(&values_of(got), &values_of(expected), depth, &format!("{what}, operand {i}"));
            }
        }
    }
}

const PACKED: [PackedDtype; 3] = [PackedDtype::F16, PackedDtype::Int8, PackedDtype::Int4];

/// A packed weight is what it is as floats, forward and back, alone and with an update; more columns than a core unpacks
/// rows at a time, and rows that end within a block.
fn packed_is_dense(device: &Device) {
    for (rows, features, out) in [(1, 1, 1), (7, 33, 5), (3, 64, 200), (67, 72, 132), (1, 100, 260)] {
        for dtype in PACKED {
            let what = format!("{dtype:?}, {rows}×{features} by {out}");
            let values = noise(out * features, 2);
            let packed = Packed::new(&values, [out, features], dtype, device);
            let dy = matrix(rows, out, 3, device);
            let run = |weight: Matrix| {
                let [x, a, b] = [(rows, features, 1), (4, features, 4), (out, 4, 5)]
                    .map(|(r, c, seed)| matrix(r, c, seed, device).autodiff().require_grad());
                let alone = linear(x.clone().unsqueeze(), weight.clone());
                let y = alone + low_rank_linear(x.clone().unsqueeze(), weight, a.clone(), b.clone(), 0.7);
                let y = y.squeeze_dim::<2>(0);
                let gradients = (y.clone() * dy.clone().autodiff()).sum().backward();
                let of = |t: Tensor<2>| values_of(t.grad(&gradients).unwrap());
                [values_of(y.inner()), of(x), of(a), of(b)]
            };
            let got = run(Matrix::Packed(packed.clone()));
            let want = run(packed.dense().into());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_close(got, want, 8 * (features + out + rows), &format!("{what}, {i}"));
            }
        }
    }
}

#[cfg(feature = "cpu")]
#[test]
fn gradients_agree_on_the_cpu() {
    gradients_agree(&Device::flex());
    low_rank_gradients_agree(&Device::flex());
    packed_is_dense(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn gradients_agree_on_wgpu() {
    if let Some(device) = wgpu() {
        gradients_agree(&device);
        low_rank_gradients_agree(&device);
        packed_is_dense(&device);
    }
}

/// Straight to the kernels, below the sizes at which they pay too, into memory full of values that are no numbers.
#[cfg(feature = "wgpu")]
#[test]
fn the_kernels_make_every_product() {
    use burn_cubecl::CubeBackend;

    use super::launch::{Addend, Orientation, Plan, Reading, possible, product};
    use super::weight::Weight;

    let Some(device) = wgpu() else { return };
    let on_device =
        |values: Vec<f32>, sides: [usize; 2]| Tensor::<2>::from_data(TensorData::new(values, sides), &device);
    // The side that may be anything, the columns, and the side that is a multiple of 4 as they are.
    let sizes =
        [(1, 4, 4), (3, 8, 4), (7, 4, 8), (64, 64, 16), (65, 60, 20), (131, 68, 100), (1, 200, 8), (200, 4, 36)];
    for (free, columns, fours) in sizes {
        for orientation in [Orientation::Nt, Orientation::Nn, Orientation::Tn] {
            let (rows, depth) = if orientation == Orientation::Tn { (fours, free) } else { (free, fours) };
            // As they lie: the left side turned in one orientation, the right side in the others.
            let lhs_sides = if orientation == Orientation::Tn { [depth, rows] } else { [rows, depth] };
            let rhs_sides = if orientation == Orientation::Nt { [columns, depth] } else { [depth, columns] };
            let lhs = noise(rows * depth, 1);
            let floats = on_device(noise(columns * depth, 2), rhs_sides);
            let rights =
                PACKED.map(|dtype| Matrix::Packed(Packed::new(&noise(columns * depth, 2), rhs_sides, dtype, &device)));
            for right in [Matrix::Floats(floats)].into_iter().chain(rights) {
                let (rhs, bits) = match &right {
                    Matrix::Floats(tensor) => (values_of(tensor.clone()), "floats".to_string()),
                    Matrix::Packed(_) if orientation == Orientation::Tn => continue,
                    Matrix::Packed(packed) => (values_of(packed.dense()), format!("{:?}", packed.dtype())),
                };
                let of_lhs = |row: usize, d: usize| match orientation {
                    Orientation::Tn => lhs[d * rows + row],
                    _ => lhs[row * depth + d],
                };
                let of_rhs = |d: usize, column: usize| match orientation {
                    Orientation::Nt => rhs[column * depth + d],
                    _ => rhs[d * columns + column],
                };
                let expected: Vec<f32> = (0..rows * columns)
                    .map(|i| {
                        let product = |d| f64::from(of_lhs(i / columns, d)) * f64::from(of_rhs(d, i % columns));
                        (0..depth).map(product).sum::<f64>() as f32
                    })
                    .collect();
                let lhs = on_device(lhs.clone(), lhs_sides).try_into_primitive::<CubeBackend>().unwrap();
                let right = match right {
                    Matrix::Floats(tensor) => Weight::Floats(tensor.try_into_primitive::<CubeBackend>().unwrap()),
                    Matrix::Packed(packed) => {
                        let (dtype, [_, columns]) = (packed.dtype(), packed.dims());
                        let words = packed.words().try_into_primitive::<CubeBackend>().unwrap();
                        Weight::Packed { words, dtype, columns }
                    }
                };
                let size = possible(&lhs, &right, orientation).unwrap();
                let direct = [8, 16].map(|side| Reading::Direct { side });
                for reading in [Reading::Tiled, Reading::Split].into_iter().chain(direct) {
                    drop(Tensor::<2>::full([rows, columns], f32::NAN, &device));
                    let plan = Plan { orientation, size, reading };
                    let out = product(lhs.clone(), right.clone(), plan, 1.0, None);
                    let out = Tensor::<2>::from_primitive::<CubeBackend>(out);
                    assert_eq!(out.dims(), [rows, columns]);
                    let what = format!("{reading:?} {orientation:?} {rows}×{columns}×{depth} {bits}");
                    assert_close(&values_of(out), &expected, depth, &what);

                    // Twice the product less once the same product as its addend, where operands lie so.
                    if orientation != Orientation::Tn {
                        let addend = Addend { lhs: lhs.clone(), rhs: right.clone().floats(), scale: -1.0 };
                        drop(Tensor::<2>::full([rows, columns], f32::NAN, &device));
                        let out = product(lhs.clone(), right.clone(), plan, 2.0, Some(addend));
                        let out = Tensor::<2>::from_primitive::<CubeBackend>(out);
                        assert_close(&values_of(out), &expected, 3 * depth, &format!("{what} with an addend"));
                    }
                }
            }
        }
    }
}

/// One tensor as both operands, which a browser would refuse to bind for writing twice.
#[cfg(feature = "wgpu")]
#[test]
fn a_matrix_times_its_own_transpose() {
    let Some(device) = wgpu() else { return };
    let x = matrix(68, 36, 5, &device);
    let product = linear(x.clone().unsqueeze::<3>(), x.clone());
    assert_close(&values_of(product), &values_of(x.clone().matmul(x.transpose())), 36, "x xᵀ");
}
