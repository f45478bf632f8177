//! The map against its definition.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};

use crate::self_test::{fastfood_is_right, hadamard};
use crate::testing::noise;
#[cfg(feature = "cpu")]
use crate::testing::values_of;
#[cfg(feature = "wgpu")]
use crate::testing::wgpu;

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

/// Values and gradients: of no stage, within one tile or part, of one and of several; with zeros behind the input and
/// without, all of the output and some; written over memory that is no number.
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
        drop(Tensor::<1>::full([2 * n + 64], f32::NAN, device));
        assert_eq!(stratune_runtime::block_on(fastfood_is_right(device, n, dimension, count)), Ok(()));
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
    use crate::testing::near;

    for (n, dimension, count) in [(1, 1, 1), (16, 5, 16), (256, 256, 200)] {
        let floats = |values: Vec<f32>| {
            let len = values.len();
            Flex::float_from_data(TensorData::new(values, [len]), &Default::default())
        };
        let order: Vec<i32> = (0..n).map(|i| ((i * 37 + 11) % n) as i32).collect();
        let order = Flex::int_from_data(TensorData::new(order, [n]), &Default::default());
        let map = Map::<Flex> { signs: floats(noise(n, 1)), order, gains: floats(noise(n, 2)) };
        let (v, dy) = (floats(noise(dimension, 3)), floats(noise(count, 4)));
        let read = |t| values_of(Tensor::<1>::from_primitive::<Flex>(t));
        let got = read(Flex::spread(v.clone(), map.clone(), count));
        near(&got, &read(spread::<Flex>(v, map.clone(), count)), "spread");
        let got = read(Flex::spread_back(dy.clone(), map.clone(), dimension));
        near(&got, &read(spread_back::<Flex>(dy, map, dimension)), "spread back");
    }
}
