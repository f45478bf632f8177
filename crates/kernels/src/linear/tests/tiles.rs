//! Products by tiles of f16 against those of f32.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{FloatDType, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::compute::Half;
use crate::linear::LinearOps;
use crate::linear::products::{LowRank, Product, Products};
use crate::linear::size::{Orientation, Reading};
use crate::linear::weight::{Weight, Weights};
use crate::tensor_list::copied_to_one_buffer;
use crate::testing::{self, noise, values_of, wgpu};
use crate::{Quantized, QuantizedDtype};

/// Tiles of f16: where f16 holds the numbers, the products and the sums of sixteen, the product to the last bit; else as far
/// off as rounding makes it, and no nearer. Sums of several, in one buffer and each in its own, are no further off, and
/// update and bias are as exact as ever. What comes back of a mean over many tokens is so small that f16 would lose it.
#[test]
fn tiles_of_f16() {
    let Some(device) = wgpu() else { return };
    if testing::tiles(&device).len() < 2 {
        return;
    }
    let on_device = |values: &[f32], sides: [usize; 2]| {
        let tensor = Tensor::<2>::from_data(TensorData::new(values.to_vec(), sides), &device);
        tensor.try_into_primitive::<CubeBackend>().unwrap()
    };
    let read = |tensor: CubeTensor| values_of(Tensor::<2>::from_primitive::<CubeBackend>(tensor));
    for (rows, columns, depth, orientation, small) in [
        (33, 36, 36, Orientation::Nt, 1.0),
        (131, 68, 100, Orientation::Nt, 1.0),
        (65, 60, 36, Orientation::Nn, 2.0_f32.powi(-20)),
        (131, 68, 100, Orientation::Nn, 2.0_f32.powi(-20)),
    ] {
        let loss_scale = 1.0 / small;
        for dtype in [None, Some(QuantizedDtype::F16), Some(QuantizedDtype::Int8)] {
            let what = format!("{orientation:?} {rows}×{columns}×{depth} {dtype:?}, of {small}");
            let transposed = orientation == Orientation::Nt;
            let rhs_sides = if transposed { [columns, depth] } else { [depth, columns] };
            let product = |lhs: &[f32], rhs: &[f32]| {
                let right = match dtype {
                    None => Weight::Floats(on_device(rhs, rhs_sides)),
                    Some(dtype) => {
                        let quantized = Quantized::new(rhs, rhs_sides, dtype, &device);
                        let words = quantized.words().try_into_primitive::<CubeBackend>().unwrap();
                        Weight::Quantized { words, format: dtype.into(), columns: rhs_sides[1] }
                    }
                };
                Product::new(on_device(lhs, [rows, depth]), right)
            };
            let made = |each: &[Product], half: bool| {
                let half = half.then_some(Half { dtype: FloatDType::F16, loss_scale });
                let of = Products::new(orientation, each.to_vec());
                let products = Products { half, summed: each.len() > 1, ..of };
                let sizes = products.sizes().unwrap();
                drop(Tensor::<1>::full([rows * columns + 64], f32::NAN, &device));
                read(products.launch(Reading::Tiled, &sizes).outputs.remove(0))
            };
            let lhs = |seed: u32| noise(rows * depth, seed).into_iter().map(|v| v * small).collect::<Vec<_>>();
            let rhs = |seed: u32| noise(columns * depth, seed);
            if dtype != Some(QuantizedDtype::Int8) {
                let eighths = |v: &f32| (8.0 * v).round() / 8.0;
                let lhs: Vec<f32> = lhs(1).iter().map(|v| eighths(&(v / small)) * small).collect();
                let rhs: Vec<f32> = rhs(2).iter().map(eighths).collect();
                let each = [product(&lhs, &rhs)];
                assert_eq!(made(&each, true), made(&each, false), "{what}, eighths");
            }
            let three = [1, 3, 5].map(|seed| product(&lhs(seed), &rhs(seed + 1)));
            let left = copied_to_one_buffer(three.iter().map(|product| product.lhs.clone()).collect(), 1);
            let right = CubeBackend::group_weights(Weights(three.iter().map(|p| p.rhs.clone()).collect())).0;
            let beside: Vec<Product> = left.into_iter().zip(right).map(|(l, r)| Product::new(l, r)).collect();
            for (what, each) in [
                (what.clone(), &three[..1]),
                (format!("{what}, two summed"), &three[..2]),
                (format!("{what}, summed one by one"), &three[..]),
                (format!("{what}, summed, beside"), &beside[..]),
            ] {
                let (got, exact) = (made(each, true), made(each, false));
                let off: Vec<f32> = got.iter().zip(&exact).map(|(g, e)| (g - e).abs() / small).collect();
                let most = off.iter().fold(0.0_f32, |m, v| m.max(*v));
                // Two operands and the sums of sixteen are rounded to 11 bits; errors add up like a walk.
                let allowed = 4.0 * 2.0_f32.powi(-11) * ((each.len() * depth) as f32).sqrt();
                assert!(off.iter().all(|v| v.is_finite()) && most <= allowed, "{what}: {most:e} of {allowed:e}");
                assert!(most > 1e-6, "{what}: this is no half precision");
            }

            // Of a matrix of zeros only update and bias are left.
            let (down, up) = (noise(4 * depth, 7), noise(4 * columns, 8));
            let factor = |values: &[f32], [out, inner]: [usize; 2]| {
                on_device(values, if transposed { [out, inner] } else { [inner, out] })
            };
            let update = LowRank { down: factor(&down, [4, depth]), up: factor(&up, [columns, 4]), scale: 0.5 };
            let bias = CubeBackend::float_reshape(on_device(&noise(columns, 9), [1, columns]), [columns].into());
            let zeros = product(&lhs(1), &vec![0.0; columns * depth]);
            let with = [Product { update: Some(update), bias: Some(bias), ..zeros }];
            assert_eq!(made(&with, true), made(&with, false), "{what}, update and bias");
        }
    }
}
