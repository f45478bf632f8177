//! A few numbers spread over many, by a fixed random linear map (Li et al. 2018, arXiv 1804.08838).
//!
//! All three keep lengths on average, `E ‖P v‖² = ‖v‖²`, so that one learning rate suits them, and their backward is
//! the exact adjoint.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use stratune_kernels::Fastfood;
use stratune_protocol::normals;

use crate::{PeftError, Projection};

/// Nonzero entries in a row of the sparse map.
const NONZERO: usize = 4;

/// A fixed map from `[dimension]` to `[count]`.
#[derive(Clone, Debug)]
// A model holds few of them: a pointer would buy nothing.
#[allow(clippy::large_enum_variant)]
pub enum Projector {
    /// R, `[count, dimension]`, entries N(0, 1/count).
    Dense(Tensor<2>),
    /// A few signed entries in each row.
    Sparse {
        /// Which numbers a row reads: `[count · nonzero]`.
        indices: Tensor<1, Int>,
        /// With which sign and weight: `[count, nonzero]`.
        signs: Tensor<2>,
    },
    /// Fastfood, of the next power of two.
    Fastfood {
        /// The map.
        map: Fastfood,
        /// Numbers that come out.
        count: usize,
    },
}

impl Projector {
    /// A map drawn from `rng`.
    ///
    /// # Errors
    /// `dimension` is 0 or above what a fastfood map of this size can take.
    pub fn new(
        kind: Projection,
        count: usize,
        dimension: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Result<Self, PeftError> {
        if dimension == 0 {
            return Err(PeftError::DimensionZero);
        }
        Ok(match kind {
            Projection::Dense => {
                let values = normals(rng, count * dimension, (count as f32).sqrt().recip());
                Self::Dense(Tensor::from_data(TensorData::new(values, [count, dimension]), device))
            }
            Projection::Sparse => {
                let indices: Vec<i32> = (0..count * NONZERO).map(|_| rng.random_range(0..dimension as i32)).collect();
                // Each of the count·k entries is ±w, so E‖Pv‖² = count·k·w²·‖v‖²/dimension.
                let weight = (dimension as f32 / (count * NONZERO) as f32).sqrt();
                let signs = (0..count * NONZERO).map(|_| if rng.random::<bool>() { weight } else { -weight });
                let signs: Vec<f32> = signs.collect();
                Self::Sparse {
                    indices: Tensor::from_data(TensorData::new(indices, [count * NONZERO]), device),
                    signs: Tensor::from_data(TensorData::new(signs, [count, NONZERO]), device),
                }
            }
            Projection::Fastfood => {
                let n = count.next_power_of_two();
                if dimension > n {
                    return Err(PeftError::DimensionAboveMatrix { dimension, most: n });
                }
                let signs: Vec<f32> = (0..n).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect();
                let mut order: Vec<i32> = (0..n as i32).collect();
                order.shuffle(rng);
                let mut gains = normals(rng, n, 1.0);
                // ‖H G Π H B v‖² is n·ΣG²·‖v‖² on average; `count` of its n entries are kept.
                let squares: f32 = gains.iter().map(|g| g * g).sum();
                let norm = (count as f32 * squares).sqrt();
                gains.iter_mut().for_each(|g| *g /= norm);
                Self::Fastfood { map: Fastfood::new(signs, order, gains, device), count }
            }
        })
    }

    /// Where its tensors live.
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Dense(matrix) => matrix.device(),
            Self::Sparse { signs, .. } => signs.device(),
            Self::Fastfood { map, .. } => map.device(),
        }
    }

    /// `P v`.
    ///
    /// # Shapes
    /// - `v`: `[dimension]`
    /// - output: `[count]`
    pub fn apply(&self, v: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Dense(matrix) => matrix.clone().matmul(v.unsqueeze_dim(1)).squeeze_dim(1),
            Self::Sparse { indices, signs } => {
                let picked = v.select(0, indices.clone()).reshape(signs.dims());
                (picked * signs.clone()).sum_dim(1).squeeze_dim(1)
            }
            Self::Fastfood { map, count } => map.spread(v, *count),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::draws;

    use super::*;

    const KINDS: [Projection; 3] = [Projection::Dense, Projection::Sparse, Projection::Fastfood];

    fn random(seed: u64, count: usize) -> Tensor<1> {
        let values = normals(&mut draws(seed, "test", [0, 0]), count, 1.0);
        Tensor::from_data(TensorData::new(values, [count]), &Device::flex())
    }

    fn projector(kind: Projection, count: usize, dimension: usize, seed: u64) -> Projector {
        Projector::new(kind, count, dimension, &mut draws(seed, "map", [0, 0]), &Device::flex()).unwrap()
    }

    fn dot(a: Tensor<1>, b: Tensor<1>) -> f32 {
        (a * b).sum().into_scalar()
    }

    #[test]
    fn the_backward_pass_is_the_adjoint() {
        // ⟨P v, u⟩ = ⟨v, Pᵀ u⟩ within rounding of f32 sums of 60 terms.
        for kind in KINDS {
            let (v, u) = (random(1, 12), random(2, 60));
            let tracked = v.clone().autodiff().require_grad();
            let forward = projector(kind, 60, 12, 3).apply(tracked.clone());
            let mut tape = (forward.clone() * u.clone()).sum().backward();
            let adjoint = tracked.grad_remove(&mut tape).unwrap().inner();
            let (left, right) = (dot(forward.inner(), u), dot(v, adjoint));
            assert!((left - right).abs() < 1e-4 * left.abs().max(1.0), "{kind:?}: {left} {right}");
        }
    }

    #[test]
    fn lengths_are_kept_on_average() {
        for kind in KINDS {
            let mean: f32 = (0..200)
                .map(|seed| {
                    let v = random(seed, 20);
                    let image = projector(kind, 100, 20, seed + 1000).apply(v.clone());
                    dot(image.clone(), image) / dot(v.clone(), v)
                })
                .sum::<f32>()
                / 200.0;
            // The relative variance of one draw is about 2/20 and more; 200 draws leave three deviations of 0.1.
            assert!((mean - 1.0).abs() < 0.1, "{kind:?}: {mean}");
        }
    }

    #[test]
    fn too_many_numbers_are_refused() {
        let mut rng = draws(0, "map", [0, 0]);
        let map =
            |dimension, rng: &mut ChaCha8Rng| Projector::new(Projection::Fastfood, 5, dimension, rng, &Device::flex());
        assert!(map(8, &mut rng).is_ok());
        assert!(map(9, &mut rng).is_err() && map(0, &mut rng).is_err());
    }
}
