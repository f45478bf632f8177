//! AdamW over the parameters that have a gradient (Loshchilov and Hutter 2019, algorithm 2).
//!
//! A parameter without a gradient at a step is left exactly as it is: no decay, its moments and its step count wait for
//! it. That is what makes sparse tuning sparse.

use std::collections::BTreeMap;

use burn::optim::{AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use stratune_peft::{Gradients, Param, Parameters, Rule, Visitor};
use stratune_protocol::{Problem, draws};
use stratune_runtime::read_f32;
use stratune_store::HostTensor;

use crate::projected::Projectors;

/// AdamW with β = (0.9, 0.999) and ε = 1e-8, as PyTorch has it.
#[derive(Clone)]
pub struct AdamW {
    rule: burn::optim::AdamW,
    weight_decay: f32,
    moments: BTreeMap<String, AdamWState<1>>,
    projectors: Projectors,
}

/// When in a run a step is: what random draws are keyed by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: usize,
}

impl AdamW {
    /// With decoupled weight decay.
    pub fn new(weight_decay: f32) -> Self {
        Self::with_betas(weight_decay, 0.9, 0.999)
    }

    /// With decoupled weight decay and given betas.
    pub fn with_betas(weight_decay: f32, beta_1: f32, beta_2: f32) -> Self {
        let rule = AdamWConfig::new()
            .with_weight_decay(weight_decay)
            .with_epsilon(1e-8)
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .build();
        Self { rule, weight_decay, moments: BTreeMap::new(), projectors: Projectors::default() }
    }

    /// Moves every parameter that has a gradient, each by its rule.
    ///
    /// # Errors
    /// The device does not answer when directions of gradients are chosen anew.
    pub async fn step(
        &mut self,
        of: &mut impl Parameters,
        gradients: Gradients,
        learning_rate: f64,
        at: Moment,
    ) -> Result<(), Problem> {
        struct Step<'a> {
            adam: &'a mut AdamW,
            gradients: Gradients,
            learning_rate: f64,
            at: Moment,
        }
        impl Visitor for Step<'_> {
            fn visit<const D: usize>(&mut self, path: &str, param: &mut Param<D>) {
                let Some(gradient) = self.gradients.remove(path).filter(|_| param.trainable) else { return };
                let shape = param.value.shape();
                let flat = param.value.clone().reshape([shape.num_elements()]);
                let rate = self.learning_rate * param.rate;
                let flat = match param.rule {
                    Rule::Plain => self.adam.moved(path, flat, gradient, rate),
                    Rule::Thinned { share } => {
                        self.adam.moved(path, flat, thinned(gradient, share, path, self.at), rate)
                    }
                    Rule::Projected { scale, .. } => {
                        let sides = param.value.dims();
                        self.adam.moved_in_directions(path, flat, &gradient, rate, scale, [sides[0], sides[D - 1]])
                    }
                };
                param.value = flat.reshape(shape);
            }
        }
        let times: BTreeMap<String, usize> =
            self.moments.iter().map(|(path, state)| (path.clone(), state.momentum.time)).collect();
        let times = |path: &str| times.get(path).copied().unwrap_or(0);
        self.projectors.refresh(of, &gradients, times).await?;
        of.each("", &mut Step { adam: self, gradients, learning_rate, at });
        Ok(())
    }

    fn moved(&mut self, path: &str, value: Tensor<1>, gradient: Tensor<1>, rate: f64) -> Tensor<1> {
        let moments = self.moments.remove(path);
        let (value, moments) = self.rule.step(rate, value, gradient, moments);
        if let Some(moments) = moments {
            self.moments.insert(path.to_string(), moments);
        }
        value
    }

    /// GaLore's step. The rule's own decay is of the zeros it is given, so the matrix's is here.
    fn moved_in_directions(
        &mut self,
        path: &str,
        value: Tensor<1>,
        gradient: &Tensor<1>,
        rate: f64,
        scale: f32,
        sides: [usize; 2],
    ) -> Tensor<1> {
        let Some(narrow) = self.projectors.narrow(path, gradient, sides) else { return value };
        let step = self.moved(path, narrow.zeros_like(), narrow, rate);
        let Some(step) = self.projectors.widen(path, step, sides) else { return value };
        value.mul_scalar(1.0 - rate * f64::from(self.weight_decay)) + step.mul_scalar(scale)
    }

    /// Forgets the state of the parameters whose paths begin so.
    pub fn release(&mut self, prefix: &str) {
        self.moments.retain(|path, _| !path.starts_with(prefix));
        self.projectors.release(prefix);
    }

    /// Numbers that the state holds.
    pub fn state_size(&self) -> usize {
        self.moments.values().map(|AdamWState { momentum }| 2 * momentum.moment_1.dims()[0]).sum()
    }

    /// The moments, for a checkpoint: `moment_1/PATH`, `moment_2/PATH`, and how often each parameter has moved.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn save(&self) -> Result<(BTreeMap<String, HostTensor>, BTreeMap<String, usize>), Problem> {
        let mut tensors = BTreeMap::new();
        let mut times = BTreeMap::new();
        for (path, AdamWState { momentum }) in &self.moments {
            for (name, moment) in [("moment_1", &momentum.moment_1), ("moment_2", &momentum.moment_2)] {
                let data = read_f32(moment.clone()).await?;
                tensors.insert(format!("{name}/{path}"), HostTensor { shape: vec![data.len()], data });
            }
            times.insert(path.clone(), momentum.time);
        }
        tensors.extend(self.projectors.save().await?);
        Ok((tensors, times))
    }

    /// Takes the moments out of a checkpoint.
    ///
    /// # Errors
    /// A moment is missing.
    pub fn load(
        &mut self,
        tensors: &BTreeMap<String, HostTensor>,
        times: &BTreeMap<String, usize>,
        device: &Device,
    ) -> Result<(), Problem> {
        self.moments.clear();
        for (path, time) in times {
            let moment = |name: &str| {
                let key = format!("{name}/{path}");
                let host = tensors.get(&key).ok_or_else(|| Problem::input(format!("the checkpoint has no {key}")))?;
                Ok::<_, Problem>(Tensor::<1>::from_data(TensorData::new(host.data.clone(), [host.data.len()]), device))
            };
            let momentum = AdaptiveMomentumState {
                time: *time,
                moment_1: moment("moment_1")?,
                moment_2: moment("moment_2")?,
                max_moment_2: None,
            };
            self.moments.insert(path.clone(), AdamWState { momentum });
        }
        self.projectors.load(tensors, device);
        Ok(())
    }
}

/// Child-tuning F (Xu et al. 2021, arXiv 2109.05687, eq. 4): a random share of the entries, over that share. As in the
/// authors' code the moments see the zeros of the others, and weight decay is of the whole.
fn thinned(gradient: Tensor<1>, share: f32, path: &str, at: Moment) -> Tensor<1> {
    let mut rng = draws(at.seed, path, [at.step as u64, u64::from_le_bytes(*b"child   ")]);
    let count = gradient.dims()[0];
    let mask: Vec<f32> = (0..count).map(|_| if rng.random::<f32>() < share { 1.0 / share } else { 0.0 }).collect();
    let mask = Tensor::<1>::from_data(TensorData::new(mask, [count]), &gradient.device());
    gradient * mask
}

/// Scales the gradients so that their global norm is at most `limit` (0: not at all), and gives the norm before, `[1]`,
/// without reading it back.
pub fn clip(gradients: &mut Gradients, limit: f32, device: &Device) -> Tensor<1> {
    let squares: Vec<Tensor<1>> = gradients.values().map(|g| g.clone().square().sum()).collect();
    if squares.is_empty() {
        return Tensor::zeros([1], device);
    }
    let norm = Tensor::cat(squares, 0).sum().sqrt();
    if limit > 0.0 {
        // PyTorch's clip_grad_norm_: the quotient gets 1e-6 and is never above one.
        let factor = norm.clone().add_scalar(1e-6).recip().mul_scalar(limit).clamp_max(1.0);
        for gradient in gradients.values_mut() {
            *gradient = gradient.clone() * factor.clone();
        }
    }
    norm
}
