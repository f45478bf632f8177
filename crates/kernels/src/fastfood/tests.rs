//! The map against its definition, and against the engine's own operations.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};

use super::Fastfood;
#[cfg(feature = "wgpu")]
use crate::testing::wgpu;
use crate::testing::{noise, tensor, values_of};

/// Diagonals and a permutation of this length.
fn parts(n: usize) -> (Vec<f32>, Vec<i32>, Vec<f32>) {
    let signs = noise(n, 1).into_iter().map(f32::signum).collect();
    // Any odd number of steps goes round a power of two.
    let order = (0..n).map(|i| ((i * 37 + 11) % n) as i32).collect();
    (signs, order, noise(n, 2))
}

/// `H x` in f64, by sums and differences of pairs.
fn hadamard(mut x: Vec<f64>) -> Vec<f64> {
    let mut half = 1;
    while half < x.len() {
        for pairs in x.chunks_exact_mut(2 * half) {
            let (a, b) = pairs.split_at_mut(half);
            a.iter_mut().zip(b).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
        }
        half *= 2;
    }
    x
}

#[test]
fn pairs_give_the_matrix() {
    let x: Vec<f64> = noise(16, 5).into_iter().map(f64::from).collect();
    // The sign is that of the bits that both places have.
    let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let row = |i: usize| x.iter().enumerate().map(|(j, x)| sign(i, j) * x).sum::<f64>();
    for (i, got) in hadamard(x.clone()).into_iter().enumerate() {
        assert!((got - row(i)).abs() < 1e-12, "{i}");
    }
}

fn close(got: &[f32], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        // Sums of as many numbers as the map is long, twice, in f32 in a tree.
        assert!((f64::from(*g) - w).abs() <= 2e-6 * largest, "{what}, {i}: {g} for {w}, of {largest}");
    }
}

/// Values and gradients of the definition: of no stage, within one tile or part, of one and of several; with zeros behind the
/// input and without, all of the output and some; written over memory that is no number.
fn is_the_definition(device: &Device) {
    for (n, dimension, count) in [
        (1, 1, 1),
        (2, 1, 2),
        (8, 8, 5),
        (512, 100, 300),
        (4096, 4096, 4095),
        (1 << 13, 1000, 5000),
        (1 << 17, 1 << 17, 100_001),
        (1 << 21, 77, (1 << 21) - 3),
    ] {
        let what = format!("{dimension} spread over {count} of {n}");
        let (signs, order, gains) = parts(n);
        let map = Fastfood::new(signs.clone(), order.clone(), gains.clone(), device);
        let (v, dy) = (noise(dimension, 3), noise(count, 4));
        drop(Tensor::<1>::full([2 * n + 64], f32::NAN, device));
        let x = tensor([dimension], 3, device).autodiff().require_grad();
        let y = map.spread(x.clone(), count);
        let tape = (y.clone() * tensor([count], 4, device)).sum().backward();

        let mixed: Vec<f64> = (0..n).map(|i| if i < dimension { f64::from(v[i] * signs[i]) } else { 0.0 }).collect();
        let mixed = hadamard(mixed);
        let mixed: Vec<f64> = (0..n).map(|i| mixed[order[i] as usize] * f64::from(gains[i])).collect();
        close(&values_of(y.inner()), &hadamard(mixed)[..count], &what);

        let back: Vec<f64> = (0..n).map(|i| if i < count { f64::from(dy[i]) } else { 0.0 }).collect();
        let back = hadamard(back);
        let mut placed = vec![0.0; n];
        (0..n).for_each(|i| placed[order[i] as usize] = back[i] * f64::from(gains[i]));
        let back = hadamard(placed);
        let want: Vec<f64> = (0..dimension).map(|i| back[i] * f64::from(signs[i])).collect();
        close(&values_of(x.grad(&tape).unwrap()), &want, &format!("gradient of {what}"));
    }
}

#[cfg(feature = "cpu")]
#[test]
fn the_map_is_right_on_the_cpu() {
    is_the_definition(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn the_map_is_right_on_wgpu() {
    if let Some(device) = wgpu() {
        is_the_definition(&device);
    }
}

/// What devices without a kernel do.
#[cfg(feature = "cpu")]
#[test]
fn the_reference_is_what_the_cpu_does() {
    use burn::backend::Flex;
    use burn::backend::ops::{FloatTensorOps, IntTensorOps};
    use burn::tensor::TensorData;

    use super::reference::{FastfoodOps, Map, spread, spread_back};

    for (n, dimension, count) in [(1, 1, 1), (16, 5, 16), (256, 256, 200)] {
        let (signs, order, gains) = parts(n);
        let floats = |values: Vec<f32>| {
            let len = values.len();
            Flex::float_from_data(TensorData::new(values, [len]), &Default::default())
        };
        let order = Flex::int_from_data(TensorData::new(order, [n]), &Default::default());
        let map = Map::<Flex> { signs: floats(signs), order, gains: floats(gains) };
        let (v, dy) = (floats(noise(dimension, 3)), floats(noise(count, 4)));
        let read = |t| values_of(Tensor::<1>::from_primitive::<Flex>(t));
        let want = read(Flex::spread(v.clone(), map.clone(), count)).into_iter().map(f64::from).collect::<Vec<_>>();
        close(&read(spread::<Flex>(v, map.clone(), count)), &want, "spread");
        let want = read(Flex::spread_back(dy.clone(), map.clone(), dimension));
        let want = want.into_iter().map(f64::from).collect::<Vec<_>>();
        close(&read(spread_back::<Flex>(dy, map, dimension)), &want, "spread back");
    }
}
