//! The kernels of `shaders/linear*.wgsl` against products made on the host.

use burn::tensor::{Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::{PACKED, assert_close, matrix, noise, values_of};
use crate::Packed;
use crate::linear::dispatch::Together;
use crate::linear::products::{Addend, Orientation, Product, Products, Reading};
use crate::linear::weight::{Weight, Weights};
use crate::linear::{LinearOps, linear};
use crate::several::laid;
use crate::testing::wgpu;

/// Straight to the kernels, below the sizes at which they pay too, into memory full of values that are no numbers: alone,
/// with an addend, onto something; several with an output each, in one memory and each in its own; and summed.
#[test]
fn the_kernels_make_every_product() {
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
#[test]
fn a_matrix_times_its_own_transpose() {
    let Some(device) = wgpu() else { return };
    let x = matrix(68, 36, 5, &device);
    let product = linear(x.clone().unsqueeze::<3>(), x.clone());
    assert_close(&values_of(product), &values_of(x.clone().matmul(x.transpose())), 36, "x xᵀ");
}
