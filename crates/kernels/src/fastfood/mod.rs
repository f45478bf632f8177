//! A few numbers spread over many by a fixed random map that is no matrix: fastfood (Le, Sarlós and Smola 2013, eq. 7).

mod backward;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor, TensorData};
use stratune_runtime::span;

use reference::{FastfoodOps, Map};

/// `H G Π H B`, with H the Walsh-Hadamard matrix without its 1/√n.
#[derive(Clone, Debug)]
pub struct Fastfood {
    signs: Tensor<1>,
    order: Tensor<1, Int>,
    gains: Tensor<1>,
}

impl Fastfood {
    /// Of the diagonals B and G and of where each number comes from, all of a length that is a power of two.
    pub fn new(signs: Vec<f32>, order: Vec<i32>, gains: Vec<f32>, device: &Device) -> Self {
        let n = order.len();
        debug_assert!(n.is_power_of_two() && [signs.len(), gains.len()] == [n, n], "one length, a power of two");
        let floats = |values| Tensor::from_data(TensorData::new(values, [n]), device);
        let order = Tensor::from_data(TensorData::new(order, [n]), device);
        Self { signs: floats(signs), order, gains: floats(gains) }
    }

    /// Where its tensors live.
    pub fn device(&self) -> Device {
        self.signs.device()
    }

    /// The first `count` numbers of what it makes of `v` and zeros behind it.
    ///
    /// # Shapes
    /// - `v`: `[dimension]`, at most as long as the map
    /// - output: `[count]`, likewise
    pub fn spread(&self, v: Tensor<1>, count: usize) -> Tensor<1> {
        let _span = span("fastfood, forward");
        let map = Map {
            signs: self.signs.clone().into_dispatch(),
            order: self.order.clone().into_dispatch(),
            gains: self.gains.clone().into_dispatch(),
        };
        Tensor::from_dispatch(<Dispatch as FastfoodOps>::spread(v.into_dispatch(), map, count))
    }
}
