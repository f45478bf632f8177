//! The feed-forward layer against its parts, and its kernels against theirs.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};

use super::feed_forward;
use crate::self_test::fed_by_parts;
#[cfg(feature = "wgpu")]
use crate::testing::wgpu;
use crate::testing::{Passed, noise, tensor};
use crate::{Compute, Factors, Layer, Matrix, Quantized, QuantizedDtype, group_weights};

/// Values, and exactly the gradients that are wanted, of odd sizes and such as kernels take; with updates of all, of some, and
/// of none, and with biases; onto something or not; from matrices of floats and of 4 bits.
fn agrees_with_its_parts(device: &Device) {
    for (rows, hidden, wide, out) in [(1, 1, 3, 2), (67, 36, 72, 20)] {
        for (ranks, biased) in
            [([4, 4, 8], false), ([0, 0, 4], false), ([4, 4, 0], false), ([0, 0, 0], true), ([4, 0, 8], true)]
        {
            // Of x, of what is added to, of a, of b, of biases.
            for (tracked, quantized) in (0..16).map(|bits| (bits, ranks == [4, 4, 8] && bits % 3 == 1)) {
                let tracked = tracked | u32::from(biased && u32::is_multiple_of(tracked, 3)) << 4;
                let is = |i: u32| tracked >> i & 1 == 1;
                let what = format!("{rows} × {hidden} × {wide} × {out}, ranks {ranks:?}, {tracked:05b}, {quantized}");
                let leaf = |t: Tensor<2>, i: u32| if is(i) { t.autodiff().require_grad() } else { t };
                let sides = [[wide, hidden], [wide, hidden], [out, wide]];
                let operands = || {
                    let mut all = vec![leaf(tensor([rows, hidden], 1, device), 0)];
                    all.push(leaf(tensor([rows, out], 2, device), 1));
                    for (i, [o, inner]) in sides.into_iter().enumerate() {
                        let rank = ranks[i].max(1);
                        all.push(leaf(tensor([rank, inner], 20 + i as u32, device), 2));
                        all.push(leaf(tensor([o, rank], 30 + i as u32, device), 3));
                        all.push(leaf(tensor([1, o], 50 + i as u32, device), 4));
                    }
                    all
                };
                let run = |layer: fn(Tensor<3>, Layer, Layer, Layer, Option<Tensor<3>>) -> Tensor<3>| {
                    let all = operands();
                    let weight = |i: usize| match quantized {
                        false => Matrix::from(tensor(sides[i], 10 + i as u32, device)),
                        true => {
                            let [o, inner] = sides[i];
                            let values = noise(o * inner, 10 + i as u32);
                            Matrix::Quantized(Quantized::new(&values, sides[i], QuantizedDtype::Int4, device))
                        }
                    };
                    let laid = group_weights(vec![weight(0), weight(1)]);
                    let of = |i: usize, weight: Matrix| {
                        let factors = Factors { a: all[2 + 3 * i].clone(), b: all[3 + 3 * i].clone(), scale: 0.7 };
                        let bias = biased.then(|| all[4 + 3 * i].clone().squeeze_dim(0));
                        Layer { weight, update: (ranks[i] > 0).then_some(factors), bias, compute: Compute::default() }
                    };
                    let residual = (!tracked.is_multiple_of(5)).then(|| all[1].clone().unsqueeze());
                    let (gate, up) = (of(0, laid[0].clone()), of(1, laid[1].clone()));
                    let y = layer(all[0].clone().unsqueeze(), gate, up, of(2, weight(2)), residual);
                    // What nothing came of has no gradient.
                    let used = |i: usize| match i {
                        0 => is(0),
                        1 => is(1) && !tracked.is_multiple_of(5),
                        _ if i % 3 == 1 => is(4) && biased,
                        _ => is(2 + (i as u32 - 2) % 3) && ranks[(i - 2) / 3] > 0,
                    };
                    let used: Vec<bool> = (0..all.len()).map(used).collect();
                    Passed::back(y, all, &used, &what)
                };
                run(feed_forward).is_near(&run(fed_by_parts), &what);
            }
        }
    }
}

#[cfg(feature = "cpu")]
#[test]
fn agrees_with_its_parts_on_the_cpu() {
    agrees_with_its_parts(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn agrees_with_its_parts_on_wgpu() {
    if let Some(device) = wgpu() {
        agrees_with_its_parts(&device);
    }
}

/// What kernels make at once against what they make one after the other, as a GPU is given to do it, into memory
/// full of values that are no numbers; gates that open and close altogether among them.
#[cfg(feature = "wgpu")]
#[test]
fn kernels_make_the_activation_along() {
    use burn::backend::ops::FloatTensorOps;
    use burn_cubecl::CubeBackend;

    use crate::linear::epilogue::Epilogue;
    use crate::linear::products::{LowRank, Product, Products};
    use crate::linear::size::{Orientation, Reading};
    use crate::swiglu::SwigluOps;
    use crate::tensor_list::copied_to_one_buffer;
    use crate::testing;

    let Some(device) = wgpu() else { return };
    let on = |shape: [usize; 2], seed: u32, most: f32| testing::on_device(shape, seed, most, &device);
    let tiles = testing::tiles(&device);
    for (rows, inner, wide, out) in [(1, 4, 4, 8), (65, 36, 68, 20), (130, 20, 132, 64)] {
        let of_floats = [0, 20].map(|rank| (rank, tiles[0]));
        for (rank, half) in of_floats.into_iter().chain(tiles.iter().map(|tiles| (8, *tiles))) {
            let what = format!("{rows} × {inner} × {wide} × {out}, rank {rank}, {half:?}");
            let x = on([rows, inner], 1, 30.0);
            let factors = |[o, i]: [usize; 2], seed: u32, count: usize| {
                let parts =
                    (0..count as u32).flat_map(|n| [on([rank, i], seed + n, 1.0), on([o, rank], seed + 7 + n, 1.0)]);
                let parts = copied_to_one_buffer(parts.collect(), 1);
                parts.chunks(2).map(|p| [p[0].clone(), p[1].clone()]).collect::<Vec<_>>()
            };
            let (of_inner, of_outer) = match rank {
                0 => (Vec::new(), Vec::new()),
                _ => (factors([wide, inner], 20, 2), factors([out, wide], 40, 1)),
            };
            let weights = copied_to_one_buffer(vec![on([wide, inner], 2, 1.0), on([wide, inner], 3, 1.0)], 1);
            let update = |factors: Option<&[_; 2]>, back: bool| {
                factors.map(|[a, b]: &[burn_cubecl::tensor::CubeTensor; 2]| match back {
                    false => LowRank { down: a.clone(), up: b.clone(), scale: 0.1 },
                    true => LowRank { down: b.clone(), up: a.clone(), scale: 0.1 },
                })
            };
            let biases = copied_to_one_buffer(vec![on([1, wide], 6, 1.0), on([1, wide], 7, 1.0)], 1);
            let bias = |i: usize| CubeBackend::float_reshape(biases[i].clone(), [wide].into());
            let product = |(i, weight): (usize, burn_cubecl::tensor::CubeTensor)| Product {
                update: update(of_inner.get(i), false),
                bias: (rank == 8).then(|| bias(i)),
                ..Product::new(x.clone(), crate::linear::weight::Weight::Floats(weight))
            };
            let apart = Products::new(Orientation::Nt, weights.into_iter().enumerate().map(product));
            let apart = Products { half, ..apart };
            let sizes = apart.sizes().unwrap();
            let want = apart.clone().launch(Reading::Tiled, &sizes);
            let value = CubeBackend::swiglu_forward(want.outputs[0].clone(), want.outputs[1].clone());
            let gated = Products { epilogue: Epilogue::Swiglu, ..apart };
            let got = gated.in_order().at_once(Reading::Tiled, &sizes).unwrap();
            let all = want.outputs.iter().cloned().chain([value]).chain(want.low.iter().cloned());
            for (i, (got, want)) in got.outputs.iter().chain(&got.low).zip(all).enumerate() {
                testing::assert_close(got.clone(), want, 4e-6, 1e-3, &format!("{what}, {i}"));
            }

            let dy = on([rows, out], 5, 1.0);
            let down = Product {
                update: update(of_outer.first(), true),
                ..Product::new(dy, crate::linear::weight::Weight::Floats(on([out, wide], 4, 1.0)))
            };
            let apart = Products { half, ..Products::new(Orientation::Nn, [down]) };
            let sizes = apart.sizes().unwrap();
            let d_value = apart.clone().launch(Reading::Tiled, &sizes);
            let [gate, up] = [got.outputs[0].clone(), got.outputs[1].clone()];
            let (d_gate, d_up) = CubeBackend::swiglu_backward(gate.clone(), up.clone(), d_value.outputs[0].clone());
            let back = Products { epilogue: Epilogue::SwigluBackward(Box::new([gate, up])), ..apart };
            let made = back.in_order().at_once(Reading::Tiled, &sizes).unwrap();
            let all = [d_gate, d_up, got.outputs[2].clone()].into_iter().chain(d_value.low);
            for (i, (got, want)) in made.outputs.iter().chain(&made.low).zip(all).enumerate() {
                testing::assert_close(got.clone(), want, 4e-6, 1e-3, &format!("{what}, back, {i}"));
            }
        }
    }
}
