//! Where a method enters, and the random start it has there.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use stratune_protocol::{Role, draws};

use crate::ModuleId;

/// A linear layer of a block, as a method sees it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Which layer it is.
    pub id: ModuleId,
    /// What it is for.
    pub role: Role,
    /// Its number among the linear layers of its block, from 0.
    pub index: u64,
    /// Its matrix, `[out, in]`.
    pub weight: Tensor<2>,
    /// Its bias, `[out]`, if it has one.
    pub bias: Option<Tensor<1>>,
    /// Layers that the method enters.
    pub sites: usize,
    /// Seed of the run.
    pub seed: u64,
}

impl Site {
    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.weight.dims()
    }

    /// Where its tensors live.
    pub fn device(&self) -> Device {
        self.weight.device()
    }

    /// The draws called `what` at this site. They depend on the seed, the name and the place alone.
    pub(crate) fn draws(&self, what: &str) -> ChaCha8Rng {
        draws(self.seed, what, [self.id.block.unwrap_or(0) as u64, self.index])
    }
}

/// Numbers drawn evenly within ±bound.
pub(crate) fn uniform<const D: usize>(rng: &mut ChaCha8Rng, shape: [usize; D], bound: f32, on: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect();
    Tensor::from_data(TensorData::new(values, shape), on)
}

/// The bound of Kaiming's uniform draw with a = √5 for rows of `inputs`: 1/√inputs.
pub(crate) fn kaiming(inputs: usize) -> f32 {
    (inputs.max(1) as f32).sqrt().recip()
}
