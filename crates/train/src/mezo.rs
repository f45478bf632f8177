//! MeZO: a step from two losses and no gradient (Malladi et al. 2023, arXiv 2305.17333, algorithm 1).
//!
//! A direction z is drawn, normal; the loss is taken at θ + εz and θ − εz; `g = (L₊ − L₋) / 2ε` says how the loss changes
//! along z, and `θ ← θ − η g z`, where a parameter's η may be a multiple of the run's (LoRA+). z is drawn again wherever it is needed, from the seed, the step and the parameter's path,
//! and a block's shifted parameters live while that block runs: memory is that of inference. θ itself is not touched
//! by the two passes, so nothing has to be put back. A run is its start and the list of its moves.

use serde::{Deserialize, Serialize};
use stratune_models::Model;
use stratune_peft::{Param, ParamId, Parameters, Visitor};
use stratune_protocol::{Problem, draws, normals};
use stratune_runtime::read_scalars;

use crate::evaluate::loss;
use crate::{Objective, Uploaded};

use burn::tensor::{Tensor, TensorData};

/// What a step has done: with the seed, all that is needed to do it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// η g.
    pub length: f64,
    /// The blocks that took part.
    pub blocks: Vec<usize>,
    /// What the length was multiplied by in each of them; empty: by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<f64>,
}

impl Move {
    /// How far the parameters of a block have gone, or those that are in none.
    fn length_in(&self, block: Option<usize>) -> f64 {
        let place = block.and_then(|block| self.blocks.iter().position(|b| *b == block));
        self.length * place.and_then(|place| self.rates.get(place)).copied().unwrap_or(1.0)
    }
}

/// One step's direction.
#[derive(Clone, Copy, Debug)]
pub struct Direction {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: usize,
}

/// What the two losses say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Mean of the two, summed over the learned tokens.
    pub loss: f64,
    /// g, of the mean loss of a learned token.
    pub slope: f64,
}

impl Direction {
    /// The slope of the loss along the direction, at the distance ε on either side.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn slope(
        self,
        objective: &dyn Objective,
        model: &Model,
        batches: &[Uploaded],
        blocks: &[usize],
        epsilon: f32,
    ) -> Result<Slope, Problem> {
        let mut sums = Vec::new();
        for side in [epsilon, -epsilon] {
            let mut shifted = model.clone();
            let side = f64::from(side);
            self.shift(&mut shifted, |block, _| block.is_none().then_some(side));
            let alter = |i: usize, block: &mut _| {
                if blocks.contains(&i) {
                    self.shift(block, |_, _| Some(side));
                }
            };
            let losses = batches.iter().map(|batch| loss(objective, &shifted, batch, None, Some(&alter))).collect();
            sums.push(read_scalars(losses).await?.iter().sum::<f64>());
        }
        let learned: usize = batches.iter().map(|b| b.learned).sum();
        let slope = (sums[0] - sums[1]) / (2.0 * f64::from(epsilon) * learned.max(1) as f64);
        Ok(Slope { loss: (sums[0] + sums[1]) / 2.0, slope })
    }

    /// Moves what trains, in these blocks and outside of blocks, by `−length` times the direction, and as many times as far
    /// as a parameter's share of the learning rate says.
    pub fn take(self, model: &mut Model, of: &Move) {
        self.shift(model, |block, rate| {
            block.is_none_or(|block| of.blocks.contains(&block)).then(|| -of.length_in(block) * rate)
        });
    }

    /// Adds the direction, so many times: what is given for a block, or for what is outside of blocks, and a parameter's share
    /// of the learning rate. Where nothing is given, nothing moves.
    fn shift(self, of: &mut impl Parameters, by: impl Fn(Option<usize>, f64) -> Option<f64>) {
        struct Shift<F>(Direction, F);
        impl<F: Fn(Option<usize>, f64) -> Option<f64>> Visitor for Shift<F> {
            fn visit<const D: usize>(&mut self, ParamId { block, path }: &ParamId, param: &mut Param<D>) {
                if let Some(by) = (self.1)(*block, param.rate).filter(|_| param.trainable) {
                    let by = by as f32;
                    param.value = param.value.clone() + self.0.part(path, &param.value).mul_scalar(by);
                }
            }
        }
        of.each(&mut Shift(self, by));
    }

    /// The direction's part for one parameter.
    fn part<const D: usize>(self, path: &str, like: &Tensor<D>) -> Tensor<D> {
        let shape = like.dims();
        let mut rng = draws(self.seed, path, [self.step as u64, u64::from_le_bytes(*b"mezo z  ")]);
        let values = normals(&mut rng, shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), &like.device())
    }
}
