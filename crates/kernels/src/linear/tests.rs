//! The layer and its gradients against autodiff of the definition, and the kernel against products made on the host.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor, TensorData};

use super::{Factors, Layer, Matrix, lay_together, layers, linear};
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

/// Layers that read one input, with low-rank updates and without, against autodiff of the definition: values, and exactly
/// the gradients that are wanted. One layer alone is added to something.
fn layers_agree<const N: usize>(device: &Device) {
    for (rows, features, outs, rank) in [
        (1, 1, [1, 2, 1], 1),
        (7, 8, [8, 4, 12], 4),
        (67, 72, [132, 64, 20], 8),
        (37, 12, [97, 5, 8], 3),
        (64, 64, [64, 32, 32], 16),
    ] {
        for rank in [rank, 0] {
            // Of x, of what is added to, of a, of b.
            for tracked in 0..16 {
                let is = |i: u32| tracked >> i & 1 == 1;
                let what = format!("{N} of {rows}×{features} by {outs:?} of rank {rank}, tracked {tracked:04b}");
                let leaf = |t: Tensor<2>, i: u32| if is(i) { t.autodiff().require_grad() } else { t };
                let w: [_; N] = std::array::from_fn(|i| matrix(outs[i], features, 10 + i as u32, device));
                let w: Vec<Tensor<2>> = lay_together(w.into_iter().map(Matrix::from).collect())
                    .into_iter()
                    .map(|w| match w {
                        Matrix::Floats(w) => w,
                        Matrix::Packed(_) => unreachable!("these are floats"),
                    })
                    .collect();
                let operands = || {
                    let mut all =
                        vec![leaf(matrix(rows, features, 1, device), 0), leaf(matrix(rows, outs[0], 2, device), 1)];
                    for (i, out) in outs.into_iter().enumerate().filter(|_| rank > 0) {
                        // LoRA's A may stay as drawn in one layer and train in another.
                        let a = matrix(rank, features, 20 + i as u32, device);
                        all.push(if i == 0 && N > 1 { a } else { leaf(a, 2) });
                        all.push(leaf(matrix(out, rank, 30 + i as u32, device), 3));
                    }
                    all
                };
                let factors = |all: &[Tensor<2>], i: usize| {
                    (rank > 0).then(|| Factors { a: all[2 + 2 * i].clone(), b: all[3 + 2 * i].clone(), scale: 0.7 })
                };
                let loss = |ys: Vec<Tensor<2>>| {
                    let dy = |(i, y): (usize, Tensor<2>)| {
                        let sides = y.dims();
                        (y * matrix(sides[0], sides[1], 40 + i as u32, device)).sum()
                    };
                    ys.into_iter().enumerate().map(dy).reduce(|sum, more| sum + more).unwrap()
                };

                let all = operands();
                let of = std::array::from_fn(|i| Layer { weight: w[i].clone().into(), update: factors(&all, i) });
                let onto = (N == 1).then(|| all[1].clone().unsqueeze());
                let ys: [Tensor<3>; N] = layers(all[0].clone().unsqueeze(), of, onto);
                let ys: Vec<Tensor<2>> = ys.into_iter().map(|y| y.squeeze_dim(0)).collect();
                let all0 = operands();
                let want = |i: usize| {
                    let y = all0[0].clone().matmul(w[i].clone().transpose());
                    let y = match factors(&all0, i) {
                        None => y,
                        Some(Factors { a, b, scale }) => {
                            y + all0[0].clone().matmul(a.transpose()).matmul(b.transpose()) * scale
                        }
                    };
                    if N == 1 { y + all0[1].clone() } else { y }
                };
                let ys0: Vec<Tensor<2>> = (0..N).map(want).collect();
                let depth = features + rank * features + 1;
                for (y, y0) in ys.iter().zip(&ys0) {
                    let inner = |y: &Tensor<2>| values_of(y.clone());
                    assert_close(&inner(y), &inner(y0), depth, &what);
                }
                let wanted = |i: usize| match i {
                    0 => is(0),
                    1 => is(1) && N == 1,
                    2 if N > 1 => false,
                    _ => is(2 + i as u32 % 2) && (i - 2) / 2 < N,
                };
                if !(0..all.len()).any(wanted) {
                    continue;
                }
                let gradients = loss(ys).backward();
                let gradients0 = loss(ys0).backward();
                for (i, (got, expected)) in all.into_iter().zip(all0).enumerate().filter(|(i, _)| wanted(*i)) {
                    let (got, expected) = (got.grad(&gradients).unwrap(), expected.grad(&gradients0).unwrap());
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
    let of = weights.clone().map(|w| Layer { weight: w.into(), update: None });
    let [_, read] = layers(x.clone().unsqueeze(), of, None);
    let gradients = read.sum().backward();
    let want = Tensor::<2>::ones([8, 16], device).matmul(weights[1].clone());
    assert_close(&values_of(x.grad(&gradients).unwrap()), &values_of(want), 16, "the gradient of one of two");
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
                let layer = |weight: Matrix, factor: f32| Layer {
                    weight,
                    update: Some(Factors { a: a.clone() * factor, b: b.clone(), scale: 0.7 }),
                };
                let laid = lay_together(vec![weight.clone(), weight]);
                let both = std::array::from_fn(|i| layer(laid[i].clone(), 1.0 + i as f32));
                let [one, other] = layers(x.clone().unsqueeze(), both, None);
                let y = (alone + one + other).squeeze_dim::<2>(0);
                let gradients = (y.clone() * dy.clone().autodiff()).sum().backward();
                let of = |t: Tensor<2>| values_of(t.grad(&gradients).unwrap());
                [values_of(y.inner()), of(x), of(a), of(b)]
            };
            let got = run(Matrix::Packed(packed.clone()));
            let want = run(packed.dense().into());
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
    layers_agree::<1>(&Device::flex());
    layers_agree::<3>(&Device::flex());
    outputs_may_be_left(&Device::flex());
    packed_is_dense(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn gradients_agree_on_wgpu() {
    if let Some(device) = wgpu() {
        gradients_agree(&device);
        layers_agree::<1>(&device);
        layers_agree::<3>(&device);
        outputs_may_be_left(&device);
        packed_is_dense(&device);
    }
}

/// Straight to the kernels, below the sizes at which they pay too, into memory full of values that are no numbers: alone,
/// with an addend, onto something; several with an output each, in one memory and each in its own; and summed.
#[cfg(feature = "wgpu")]
#[test]
fn the_kernels_make_every_product() {
    use burn_cubecl::CubeBackend;
    use burn_cubecl::tensor::CubeTensor;

    use super::dispatch::Together;
    use super::products::{Addend, Orientation, Product, Products, Reading};
    use super::weight::{Weight, Weights};
    use crate::linear::LinearOps;
    use crate::several::laid;

    let Some(device) = wgpu() else { return };
    let on_device = |values: Vec<f32>, sides: [usize; 2]| {
        let tensor = Tensor::<2>::from_data(TensorData::new(values, sides), &device);
        tensor.try_into_primitive::<CubeBackend>().unwrap()
    };
    let read = |tensor: CubeTensor| values_of(Tensor::<2>::from_primitive::<CubeBackend>(tensor));
    // The side that may be anything, the columns, and the side that is a multiple of 4 as they are.
    let sizes =
        [(1, 4, 4), (3, 8, 4), (7, 4, 8), (64, 64, 16), (65, 60, 20), (131, 68, 100), (1, 200, 8), (200, 4, 36)];
    for (free, columns, fours) in sizes {
        for orientation in [Orientation::Nt, Orientation::Nn, Orientation::Tn] {
            for dtype in [None].into_iter().chain(PACKED.map(Some)) {
                if orientation == Orientation::Tn && dtype.is_some() {
                    continue;
                }
                // Another product has other columns, which are its depth in one of the orientations.
                let pair = |seed: u32, columns: usize| {
                    let (rows, depth) = if orientation == Orientation::Tn { (fours, free) } else { (free, fours) };
                    // As they lie: the left side turned in one orientation, the right side in the others.
                    let lhs_sides = if orientation == Orientation::Tn { [depth, rows] } else { [rows, depth] };
                    let rhs_sides = if orientation == Orientation::Nt { [columns, depth] } else { [depth, columns] };
                    let lhs = noise(rows * depth, seed);
                    let mut rhs = noise(columns * depth, seed + 1);
                    let right = match dtype {
                        None => Weight::Floats(on_device(rhs.clone(), rhs_sides)),
                        Some(dtype) => {
                            let packed = Packed::new(&rhs, rhs_sides, dtype, &device);
                            rhs = values_of(packed.dense());
                            let words = packed.words().try_into_primitive::<CubeBackend>().unwrap();
                            Weight::Packed { words, dtype, columns: rhs_sides[1] }
                        }
                    };
                    let expected: Vec<f32> = (0..rows * columns)
                        .map(|i| {
                            let (row, column) = (i / columns, i % columns);
                            let product = |d: usize| {
                                let l = if orientation == Orientation::Tn {
                                    lhs[d * rows + row]
                                } else {
                                    lhs[row * depth + d]
                                };
                                let turned = orientation == Orientation::Nt;
                                let r = if turned { rhs[column * depth + d] } else { rhs[d * columns + column] };
                                f64::from(l) * f64::from(r)
                            };
                            (0..depth).map(product).sum::<f64>() as f32
                        })
                        .collect();
                    (Product::new(on_device(lhs, lhs_sides), right), expected, [rows, columns, depth])
                };
                let (first, want, sides) = pair(1, columns);
                let (second, want_second, _) = pair(3, columns);
                let (other, want_other, _) = pair(5, columns + 8);
                let [rows, _, depth] = sides;
                let direct = [8, 16].map(|side| Reading::Direct { side });
                for reading in [Reading::Tiled, Reading::Split].into_iter().chain(direct) {
                    let what = format!("{reading:?} {orientation:?} {sides:?} {dtype:?}");
                    let made = |products: Products| -> Vec<Vec<f32>> {
                        drop(Tensor::<1>::full([2 * rows * (columns + 8) + 64], f32::NAN, &device));
                        let sizes = products.sizes().unwrap();
                        products.launch(reading, &sizes).into_iter().map(read).collect()
                    };
                    let alone = made(Products::new(orientation, [first.clone()]));
                    assert_close(&alone[0], &want, depth, &what);

                    let lies = [first.clone(), other.clone(), second.clone()];
                    let lhs = laid(lies.iter().map(|product| product.lhs.clone()).collect(), 1);
                    let rhs = CubeBackend::lay_together(Weights(lies.iter().map(|p| p.rhs.clone()).collect()));
                    let beside = lhs.into_iter().zip(rhs.0).map(|(lhs, rhs)| Product::new(lhs, rhs));
                    let wanted = [&want, &want_other, &want_second];
                    let cases = [("apart", lies.to_vec()), ("in two memories", lies[..2].to_vec())];
                    for (how, each) in cases.into_iter().chain([("beside", beside.collect())]) {
                        let got = made(Products::new(orientation, each));
                        for (i, (got, want)) in got.iter().zip(wanted).enumerate() {
                            assert_close(got, want, depth, &format!("{what}, {how}, {i}"));
                        }
                    }

                    let onto = noise(rows * columns, 9);
                    let sum = |parts: &[&[f32]]| -> Vec<f32> {
                        (0..rows * columns).map(|i| parts.iter().map(|part| part[i]).sum()).collect()
                    };
                    let lies = [first.clone(), second.clone()];
                    let lhs = laid(lies.iter().map(|product| product.lhs.clone()).collect(), 1);
                    let rhs = CubeBackend::lay_together(Weights(lies.iter().map(|p| p.rhs.clone()).collect()));
                    let beside = lhs.into_iter().zip(rhs.0).map(|(lhs, rhs)| Product::new(lhs, rhs));
                    for (how, each) in [("apart", lies.to_vec()), ("beside", beside.collect())] {
                        let products = Products {
                            summed: true,
                            onto: Some(on_device(onto.clone(), [rows, columns])),
                            ..Products::new(orientation, each)
                        };
                        let got = made(products);
                        let want = sum(&[&want, &want_second, &onto]);
                        assert_close(&got[0], &want, 2 * depth, &format!("{what}, summed, {how}"));
                    }

                    // Twice the product less once another as its addend, where operands lie so.
                    if orientation == Orientation::Tn {
                        continue;
                    }
                    let added = |product: &Product, addend: &Product, scale: f32| {
                        let rhs = addend.rhs.clone().floats();
                        let addend = Addend { lhs: addend.lhs.clone(), rhs, scale: -1.0 };
                        Product { scale, addend: Some(addend), ..product.clone() }
                    };
                    let less = |a: &[f32], times: f32, b: &[f32]| -> Vec<f32> {
                        a.iter().zip(b).map(|(a, b)| times * a - b).collect()
                    };
                    let got = made(Products::new(orientation, [added(&first, &second, 2.0)]));
                    assert_close(
                        &got[0],
                        &less(&want, 2.0, &want_second),
                        3 * depth,
                        &format!("{what} with an addend"),
                    );

                    // In one memory: several with an addend each, and their sum.
                    let together = |each: [Product; 2]| {
                        let lay = |of: &dyn Fn(&Product) -> CubeTensor| laid(each.iter().map(of).collect(), 1);
                        let rhs = CubeBackend::lay_together(Weights(each.iter().map(|p| p.rhs.clone()).collect())).0;
                        let addend = |product: &Product| product.addend.clone().unwrap();
                        let [lhs, of_lhs, of_rhs] =
                            [lay(&|p| p.lhs.clone()), lay(&|p| addend(p).lhs), lay(&|p| addend(p).rhs)];
                        let each: Vec<Product> = (0..2)
                            .map(|i| Product {
                                lhs: lhs[i].clone(),
                                rhs: rhs[i].clone(),
                                scale: each[i].scale,
                                addend: Some(Addend { lhs: of_lhs[i].clone(), rhs: of_rhs[i].clone(), scale: -1.0 }),
                            })
                            .collect();
                        assert!(Together::of(&each).is_some(), "{what}: they lie in one memory");
                        Products::new(orientation, each)
                    };
                    let (another, want_another, _) = pair(7, columns + 8);
                    let each = [added(&first, &second, 2.0), added(&other, &another, 3.0)];
                    let got = made(together(each));
                    let what = format!("{what} with addends");
                    assert_close(&got[0], &less(&want, 2.0, &want_second), 3 * depth, &what);
                    assert_close(&got[1], &less(&want_other, 3.0, &want_another), 4 * depth, &what);
                    let (third, want_third, _) = pair(11, columns);
                    let each = [added(&first, &third, 1.0), added(&second, &first, 1.0)];
                    let got = made(Products { summed: true, ..together(each) });
                    assert_close(&got[0], &less(&want_second, 1.0, &want_third), 4 * depth, &format!("{what}, summed"));
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
