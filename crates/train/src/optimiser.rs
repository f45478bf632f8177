//! AdamW over the parameters that have a gradient (Loshchilov and Hutter 2019, algorithm 2).
//!
//! A parameter without a gradient at a step is left exactly as it is: no decay, its moments and its step count wait for
//! it. That is what makes sparse tuning sparse.

use std::collections::BTreeMap;

use burn::optim::{AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Device, Tensor, TensorData};
use stratune_peft::{Gradients, Param, Parameters, Visitor};
use stratune_protocol::Problem;
use stratune_runtime::read_f32;
use stratune_store::HostTensor;

/// AdamW with β = (0.9, 0.999) and ε = 1e-8, as PyTorch has it.
#[derive(Clone)]
pub struct AdamW {
    rule: burn::optim::AdamW,
    moments: BTreeMap<String, AdamWState<1>>,
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
        Self { rule, moments: BTreeMap::new() }
    }

    /// Moves every parameter that has a gradient.
    pub fn step(&mut self, of: &mut impl Parameters, gradients: Gradients, learning_rate: f64) {
        struct Step<'a> {
            adam: &'a mut AdamW,
            gradients: Gradients,
            learning_rate: f64,
        }
        impl Visitor for Step<'_> {
            fn visit<const D: usize>(&mut self, path: &str, param: &mut Param<D>) {
                let Some(gradient) = self.gradients.remove(path).filter(|_| param.trainable) else { return };
                let shape = param.value.shape();
                let flat = param.value.clone().reshape([shape.num_elements()]);
                let moments = self.adam.moments.remove(path);
                let (flat, moments) = self.adam.rule.step(self.learning_rate * param.rate, flat, gradient, moments);
                if let Some(moments) = moments {
                    self.adam.moments.insert(path.to_string(), moments);
                }
                param.value = flat.reshape(shape);
            }
        }
        of.each("", &mut Step { adam: self, gradients, learning_rate });
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
        Ok(())
    }
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
