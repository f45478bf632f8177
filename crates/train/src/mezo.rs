//! MeZO: a step from two losses and no gradient (Malladi et al. 2023, arXiv 2305.17333, algorithm 1).
//!
//! A direction z is drawn, normal; the loss is taken at θ + εz and θ − εz; `g = (L₊ − L₋) / 2ε` says how the loss changes
//! along z, and `θ ← θ − η g z`, where a parameter's η may be a multiple of the run's (LoRA+). z is drawn again wherever it is needed, from the seed, the step and the parameter's path,
//! and a block's shifted parameters live while that block runs: memory is that of inference. θ itself is not touched
//! by the two passes, so nothing has to be put back. A run is its start and the list of its steps.

use serde::{Deserialize, Serialize};
use stratune_models::Model;
use stratune_peft::{Param, ParamId, Parameters, Visitor};
use stratune_protocol::{Problem, draws, normals};
use stratune_runtime::read_scalars;

use crate::evaluate::loss;
use crate::{DeviceBatch, Objective};

use burn::tensor::{Tensor, TensorData};

/// MeZO's step: with the seed, all that is needed to do it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MezoStep {
    /// η g.
    pub length: f64,
    /// The blocks that took part.
    pub blocks: Vec<usize>,
    /// What the length was multiplied by in each of them; empty: by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<f64>,
}

impl MezoStep {
    /// The step size of the parameters of a block, or of those that are in none.
    fn length_in(&self, block: Option<usize>) -> f64 {
        let place = block.and_then(|block| self.blocks.iter().position(|b| *b == block));
        self.length * place.and_then(|place| self.rates.get(place)).copied().unwrap_or(1.0)
    }
}

/// One step's perturbation z.
#[derive(Clone, Copy, Debug)]
pub struct Perturbation {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: usize,
}

/// The projected gradient, from two losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProjectedGradient {
    /// Mean of the two, summed over the labels.
    pub loss: f64,
    /// g, of the mean loss of a label.
    pub projected_grad: f64,
}

impl Perturbation {
    /// The projected gradient: the slope of the loss along z, from the distance ε on either side.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn projected_gradient(
        self,
        objective: &dyn Objective,
        model: &Model,
        batches: &[DeviceBatch],
        blocks: &[usize],
        epsilon: f32,
    ) -> Result<ProjectedGradient, Problem> {
        let mut sums = Vec::new();
        for side in [epsilon, -epsilon] {
            let mut shifted = model.clone();
            let side = f64::from(side);
            self.perturb(&mut shifted, |block, _| block.is_none().then_some(side));
            let alter = |i: usize, block: &mut _| {
                if blocks.contains(&i) {
                    self.perturb(block, |_, _| Some(side));
                }
            };
            let losses = batches.iter().map(|batch| loss(objective, &shifted, batch, None, Some(&alter))).collect();
            sums.push(read_scalars(losses).await?.iter().sum::<f64>());
        }
        let labelled: usize = batches.iter().map(|b| b.labelled).sum();
        let projected_grad = (sums[0] - sums[1]) / (2.0 * f64::from(epsilon) * labelled.max(1) as f64);
        Ok(ProjectedGradient { loss: (sums[0] + sums[1]) / 2.0, projected_grad })
    }

    /// Moves what trains, in these blocks and outside of blocks, by `−length` times the perturbation, and as many times
    /// as far as a parameter's share of the learning rate says.
    pub fn apply(self, model: &mut Model, of: &MezoStep) {
        self.perturb(model, |block, rate| {
            block.is_none_or(|block| of.blocks.contains(&block)).then(|| -of.length_in(block) * rate)
        });
    }

    /// Adds the perturbation, so many times: what is given for a block, or for what is outside of blocks, and a
    /// parameter's share of the learning rate. Where nothing is given, nothing moves.
    fn perturb(self, of: &mut impl Parameters, by: impl Fn(Option<usize>, f64) -> Option<f64>) {
        struct Perturb<F>(Perturbation, F);
        impl<F: Fn(Option<usize>, f64) -> Option<f64>> Visitor for Perturb<F> {
            fn visit<const D: usize>(&mut self, ParamId { block, path }: &ParamId, param: &mut Param<D>) {
                if let Some(by) = (self.1)(*block, param.rate).filter(|_| param.trainable) {
                    let by = by as f32;
                    param.value = param.value.clone() + self.0.part(path, &param.value).mul_scalar(by);
                }
            }
        }
        of.each(&mut Perturb(self, by));
    }

    /// The perturbation of one parameter.
    fn part<const D: usize>(self, path: &str, like: &Tensor<D>) -> Tensor<D> {
        let shape = like.dims();
        let mut rng = draws(self.seed, path, [self.step as u64, u64::from_le_bytes(*b"mezo z  ")]);
        let values = normals(&mut rng, shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), &like.device())
    }
}
