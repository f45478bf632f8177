//! The kernels of `shaders/linear*.wgsl` against products made on the host.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::{QUANTIZED, assert_close, matrix};
use crate::linear::bind::Operands;
use crate::linear::epilogue::Epilogue;
use crate::linear::products::{LowRank, Made, Product, Products};
use crate::linear::size::{Orientation, Reading};
use crate::linear::weight::{Weight, Weights};
use crate::linear::{LinearOps, linear};
use crate::tensor_list::copied_to_one_buffer;
use crate::testing::{noise, values_of, wgpu};
use crate::{BlockFormat, Quantized, QuantizedDtype};

/// Blocks of GGUF files by every way to read a matrix, alone and beside another, as the same numbers in floats.
#[test]
fn the_kernels_read_blocks() {
    let Some(device) = wgpu() else { return };
    let words = |quantized: Quantized| {
        let (format, [_, columns]) = (quantized.format(), quantized.dims());
        Weight::Quantized { words: quantized.words().try_into_primitive::<CubeBackend>().unwrap(), format, columns }
    };
    let on_device = |sides: [usize; 2]| {
        let tensor = Tensor::<2>::from_data(TensorData::new(noise(sides[0] * sides[1], 1), sides), &device);
        tensor.try_into_primitive::<CubeBackend>().unwrap()
    };
    for format in BlockFormat::ALL {
        let sides = [68, 3 * format.in_file().0];
        let quantized = Quantized::of_blocks(&format.noise(sides), sides, format, &device);
        let floats = Weight::Floats(quantized.dense().try_into_primitive::<CubeBackend>().unwrap());
        let weight = words(quantized);
        for orientation in [Orientation::Nt, Orientation::Nn] {
            let depth = sides[usize::from(orientation == Orientation::Nt)];
            let lhs = on_device([7, depth]);
            let product = |weight: &Weight<CubeBackend>| Product::new(lhs.clone(), weight.clone());
            for reading in [Reading::Tiled, Reading::Split, Reading::Direct { side: 8 }, Reading::Direct { side: 16 }] {
                let made = |each: Vec<Product>| -> Vec<Vec<f32>> {
                    drop(Tensor::<1>::full([16 * sides[1] + 64], f32::NAN, &device));
                    let products = Products::new(orientation, each);
                    let sizes = products.sizes().unwrap();
                    let outputs = products.launch(reading, &sizes).outputs.into_iter();
                    outputs.map(|y| values_of(Tensor::<2>::from_primitive::<CubeBackend>(y))).collect()
                };
                let want = made(vec![product(&floats)]).remove(0);
                let beside = CubeBackend::group_weights(Weights(vec![weight.clone(), weight.clone()])).0;
                for each in [vec![product(&weight)], beside.iter().map(product).collect()] {
                    for got in made(each) {
                        // The same sums of the same numbers.
                        assert_close(&got, &want, 1, &format!("{format:?} {orientation:?} {reading:?}"));
                    }
                }
            }
        }
    }
}

/// Straight to the kernels, below the sizes at which they pay too, into memory full of values that are no numbers: alone,
/// with an update, onto something; several with an output each, in one buffer and each in its own; and summed.
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
            for dtype in [None].into_iter().chain(QUANTIZED.map(Some)) {
                if orientation == Orientation::Tn && dtype.is_some() {
                    continue;
                }
                // Another product has other columns, which are its depth in one of the orientations.
                let pair = |seed: u32, columns: usize| {
                    let (rows, depth) = if orientation == Orientation::Tn { (fours, free) } else { (free, fours) };
                    // As they lie: the left side transposed in one orientation, the right side in the others.
                    let lhs_sides = if orientation == Orientation::Tn { [depth, rows] } else { [rows, depth] };
                    let rhs_sides = if orientation == Orientation::Nt { [columns, depth] } else { [depth, columns] };
                    let lhs = noise(rows * depth, seed);
                    let mut rhs = noise(columns * depth, seed + 1);
                    let right = match dtype {
                        None => Weight::Floats(on_device(rhs.clone(), rhs_sides)),
                        Some(dtype) => {
                            let quantized = Quantized::new(&rhs, rhs_sides, dtype, &device);
                            rhs = values_of(quantized.dense());
                            let words = quantized.words().try_into_primitive::<CubeBackend>().unwrap();
                            Weight::Quantized { words, format: dtype.into(), columns: rhs_sides[1] }
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
                                let transposed = orientation == Orientation::Nt;
                                let r = if transposed { rhs[column * depth + d] } else { rhs[d * columns + column] };
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
                    let launch = |products: Products| -> Made {
                        drop(Tensor::<1>::full([2 * rows * (columns + 8) + 64], f32::NAN, &device));
                        let sizes = products.sizes().unwrap();
                        products.launch(reading, &sizes)
                    };
                    let made = |products: Products| -> Vec<Vec<f32>> {
                        launch(products).outputs.into_iter().map(read).collect()
                    };
                    let alone = made(Products::new(orientation, [first.clone()]));
                    assert_close(&alone[0], &want, depth, &what);

                    let lies = [first.clone(), other.clone(), second.clone()];
                    let lhs = copied_to_one_buffer(lies.iter().map(|product| product.lhs.clone()).collect(), 1);
                    let rhs = CubeBackend::group_weights(Weights(lies.iter().map(|p| p.rhs.clone()).collect()));
                    let beside = lhs.into_iter().zip(rhs.0).map(|(lhs, rhs)| Product::new(lhs, rhs));
                    let wanted = [&want, &want_other, &want_second];
                    let cases = [("apart", lies.to_vec()), ("in two buffers", lies[..2].to_vec())];
                    for (how, each) in cases.into_iter().chain([("beside", beside.collect())]) {
                        let got = made(Products::new(orientation, each));
                        for (i, (got, want)) in got.iter().zip(wanted).enumerate() {
                            assert_close(got, want, depth, &format!("{what}, {how}, {i}"));
                        }
                    }

                    let residual = noise(rows * columns, 9);
                    let sum = |parts: &[&[f32]]| -> Vec<f32> {
                        (0..rows * columns).map(|i| parts.iter().map(|part| part[i]).sum()).collect()
                    };
                    let lies = [first.clone(), second.clone()];
                    let lhs = copied_to_one_buffer(lies.iter().map(|product| product.lhs.clone()).collect(), 1);
                    let rhs = CubeBackend::group_weights(Weights(lies.iter().map(|p| p.rhs.clone()).collect()));
                    let beside = lhs.into_iter().zip(rhs.0).map(|(lhs, rhs)| Product::new(lhs, rhs));
                    for (how, each) in [("apart", lies.to_vec()), ("beside", beside.collect())] {
                        let products = Products {
                            summed: true,
                            epilogue: Epilogue::Residual(on_device(residual.clone(), [rows, columns])),
                            ..Products::new(orientation, each)
                        };
                        let got = made(products);
                        let want = sum(&[&want, &want_second, &residual]);
                        assert_close(&got[0], &want, 2 * depth, &format!("{what}, summed, {how}"));
                    }

                    // Twice the product less its update; another beside it; and their sum. Factors apart, or in one
                    // buffer, where tiles make what is low along if it is not too wide.
                    // A pipeline for each takes its time: some sizes, and one dtype, stand for all.
                    let some = [(3, 8, 4), (65, 60, 20), (131, 68, 100)].contains(&(free, columns, fours));
                    let packing = matches!(dtype, None | Some(QuantizedDtype::Int4));
                    if orientation == Orientation::Tn || !some || !packing {
                        continue;
                    }
                    for rank in if reading == Reading::Tiled { vec![4, 16, 20] } else { vec![12] } {
                        let what = format!("{what} with an update of {rank}");
                        let updated = |of: &(Product, Vec<f32>, [usize; 3]), times: f32, seed: u32| {
                            let (product, want, sides) = of;
                            let ((down, up), low, want) =
                                update_of(&read(product.lhs.clone()), want, *sides, rank, times, seed, orientation);
                            let [down, up] = [down, up].map(|(values, sides)| on_device(values, sides));
                            let update = Some(LowRank { down, up, scale: -1.0 });
                            (Product { scale: times, update, ..product.clone() }, want, low)
                        };
                        let all = [pair(1, columns), pair(5, columns + 8), pair(3, columns)];
                        let [first, wide, second] = [0, 1, 2].map(|i| updated(&all[i], 2.0, 50 + i as u32));
                        let depth = depth * (rank + 3);
                        let alone = launch(Products::new(orientation, [first.0.clone()]));
                        assert_close(&read(alone.outputs[0].clone()), &first.1, depth, &what);
                        assert_close(&read(alone.low[0].clone()), &first.2, depth, &format!("{what}, low"));

                        let along = reading == Reading::Tiled && rank <= 16;
                        let lie = |each: &[Product]| {
                            let lay = |of: &dyn Fn(&Product) -> CubeTensor| {
                                copied_to_one_buffer(each.iter().map(of).collect(), 1)
                            };
                            let update = |product: &Product| product.update.clone().unwrap();
                            let lhs = lay(&|p| p.lhs.clone());
                            let rhs =
                                CubeBackend::group_weights(Weights(each.iter().map(|p| p.rhs.clone()).collect())).0;
                            let factors = each.iter().flat_map(|p| [update(p).down, update(p).up]).collect();
                            let factors = copied_to_one_buffer(factors, 1);
                            let at = |i: usize| Product {
                                lhs: lhs[i].clone(),
                                rhs: rhs[i].clone(),
                                scale: each[i].scale,
                                update: Some(LowRank {
                                    down: factors[2 * i].clone(),
                                    up: factors[2 * i + 1].clone(),
                                    scale: -1.0,
                                }),
                                bias: None,
                            };
                            let each: Vec<Product> = (0..each.len()).map(at).collect();
                            assert_eq!(Operands::of(&each, along).unwrap().makes_low(), along, "{what}");
                            each
                        };
                        for (what, each) in [
                            (format!("{what}, apart"), vec![first.0.clone(), wide.0.clone()]),
                            (format!("{what}, beside"), lie(&[first.0.clone(), wide.0.clone()])),
                        ] {
                            let got = launch(Products::new(orientation, each));
                            for (i, (_, want, low)) in [&first, &wide].into_iter().enumerate() {
                                assert_close(&read(got.outputs[i].clone()), want, 2 * depth, &what);
                                assert_close(&read(got.low[i].clone()), low, 2 * depth, &format!("{what}, low"));
                            }
                        }
                        // One with an update and a bias beside one with neither, and beside one with a bias alone.
                        let beside = lie(&[first.0.clone(), wide.0.clone()]);
                        if let ([beside, bare], None, 12 | 16) = (&beside[..], dtype, rank) {
                            let columns = [first.1.len() / all[0].2[0], wide.1.len() / all[1].2[0]];
                            let biases = columns.map(|columns| noise(columns, 70 + columns as u32));
                            let at = |i: usize| {
                                let flat = on_device(biases[i].clone(), [1, columns[i]]);
                                CubeBackend::float_reshape(flat, [columns[i]].into())
                            };
                            let laid = copied_to_one_buffer(vec![at(0), at(1)], 1);
                            let biased = Product { bias: Some(laid[0].clone()), ..beside.clone() };
                            for with in [false, true] {
                                let bare = Product {
                                    update: None,
                                    bias: with.then(|| laid[1].clone()),
                                    scale: 1.0,
                                    ..bare.clone()
                                };
                                let got = launch(Products::new(orientation, [biased.clone(), bare]));
                                let plus = |want: &[f32], bias: &[f32]| -> Vec<f32> {
                                    want.iter().enumerate().map(|(i, want)| want + bias[i % bias.len()]).collect()
                                };
                                let zeros = vec![0.0; columns[1]];
                                let of_bare = plus(&all[1].1, if with { &biases[1] } else { &zeros });
                                let what = format!("{what}, biased, {with}");
                                assert_close(
                                    &read(got.outputs[0].clone()),
                                    &plus(&first.1, &biases[0]),
                                    2 * depth,
                                    &what,
                                );
                                assert_close(&read(got.outputs[1].clone()), &of_bare, 2 * depth, &what);
                                assert_close(&read(got.low[0].clone()), &first.2, 2 * depth, &format!("{what}, low"));
                                assert_eq!(got.low.len(), 1, "{what}");
                            }
                        }
                        let [first, second] = [(&all[0], 50, first), (&all[2], 52, second)]
                            .map(|(of, seed, (_, _, low))| (updated(of, 1.0, seed), low));
                        let each = [first.0.0.clone(), second.0.0.clone()];
                        for each in [each.to_vec(), lie(&each)] {
                            let got = launch(Products { summed: true, ..Products::new(orientation, each) });
                            let want = sum(&[&first.0.1, &second.0.1]);
                            let what = format!("{what}, summed");
                            assert_close(&read(got.outputs[0].clone()), &want, 2 * depth, &what);
                            for (got, (_, low)) in got.low.into_iter().zip([&first, &second]) {
                                assert_close(&read(got), low, depth, &format!("{what}, low"));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Factors as they lie, with their sides.
type Factor = (Vec<f32>, [usize; 2]);

/// An update of a product: its factors, what is between them, and so many `times` the product less the update.
fn update_of(
    lhs: &[f32],
    product: &[f32],
    [rows, columns, depth]: [usize; 3],
    rank: usize,
    times: f32,
    seed: u32,
    orientation: Orientation,
) -> ((Factor, Factor), Vec<f32>, Vec<f32>) {
    let (down, up) = (noise(rank * depth, seed), noise(rank * columns, seed + 10));
    let transposed = orientation == Orientation::Nt;
    let of_down = |d: usize, j: usize| f64::from(if transposed { down[j * depth + d] } else { down[d * rank + j] });
    let of_up = |j: usize, c: usize| f64::from(if transposed { up[c * rank + j] } else { up[j * columns + c] });
    let low = |i: usize| (0..depth).map(|d| f64::from(lhs[i / rank * depth + d]) * of_down(d, i % rank)).sum::<f64>();
    let low: Vec<f64> = (0..rows * rank).map(low).collect();
    let less = |(i, product): (usize, &f32)| {
        let added: f64 = (0..rank).map(|j| low[i / columns * rank + j] * of_up(j, i % columns)).sum();
        (f64::from(times) * f64::from(*product) - added) as f32
    };
    let want = product.iter().enumerate().map(less).collect();
    let sides = if transposed { ([rank, depth], [columns, rank]) } else { ([depth, rank], [rank, columns]) };
    let low = low.into_iter().map(|l| l as f32).collect();
    (((down, sides.0), (up, sides.1)), low, want)
}

/// One tensor as both operands, which a browser would refuse to bind for writing twice.
#[test]
fn a_matrix_times_its_own_transpose() {
    let Some(device) = wgpu() else { return };
    let x = matrix(68, 36, 5, &device);
    let product = linear(x.clone().unsqueeze::<3>(), x.clone());
    assert_close(&values_of(product), &values_of(x.clone().matmul(x.transpose())), 36, "x xᵀ");
}
