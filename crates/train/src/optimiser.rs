//! AdamW over the parameters that have a gradient (Loshchilov and Hutter 2019, algorithm 2).
//!
//! A parameter without a gradient at a step is left exactly as it is: no decay, its moments and its step count wait for
//! it. That is what makes sparse tuning sparse.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use stratune_kernels::{AdamwStep, Moved, adamw, global_norm};
use stratune_peft::{Gradients, Param, Parameters, Rule, Visitor};
use stratune_protocol::{Problem, draws};
use stratune_runtime::read_f32;
use stratune_store::HostTensor;

use crate::projected::Projectors;

/// AdamW with β = (0.9, 0.999) and ε = 1e-8, as PyTorch has it.
#[derive(Clone)]
pub struct AdamW {
    weight_decay: f32,
    betas: [f32; 2],
    moments: BTreeMap<String, Moments>,
    projectors: Projectors,
}

/// What the optimiser remembers of a parameter.
#[derive(Clone)]
struct Moments {
    /// How often it has moved.
    time: usize,
    /// First and second moment, flattened.
    of: [Tensor<1>; 2],
}

/// The gradients of a step, and what each is multiplied by before it is used.
pub struct Clipped {
    /// By the parameter's path.
    pub gradients: Gradients,
    /// `[1]`, still on the device.
    pub factor: Tensor<1>,
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
        let betas = [beta_1, beta_2];
        Self { weight_decay, betas, moments: BTreeMap::new(), projectors: Projectors::default() }
    }

    /// Moves every parameter that has a gradient, each by its rule.
    ///
    /// # Errors
    /// The device does not answer when directions of gradients are chosen anew.
    pub async fn step(
        &mut self,
        of: &mut impl Parameters,
        clipped: Clipped,
        learning_rate: f64,
        at: Moment,
    ) -> Result<(), Problem> {
        struct Step<'a> {
            adam: &'a mut AdamW,
            clipped: Clipped,
            learning_rate: f64,
            at: Moment,
        }
        impl Visitor for Step<'_> {
            fn visit<const D: usize>(&mut self, path: &str, param: &mut Param<D>) {
                let Some(gradient) = self.clipped.gradients.remove(path).filter(|_| param.trainable) else {
                    return;
                };
                let shape = param.value.shape();
                let flat = param.value.clone().reshape([shape.num_elements()]);
                let rate = self.learning_rate * param.rate;
                let factor = &self.clipped.factor;
                let flat = match param.rule {
                    Rule::Plain => self.adam.moved(path, flat, gradient, factor, rate),
                    Rule::Thinned { share } => {
                        self.adam.moved(path, flat, thinned(gradient, share, path, self.at), factor, rate)
                    }
                    Rule::Projected { scale, .. } => {
                        let sides = param.value.dims();
                        let gradient = gradient * factor.clone();
                        self.adam.moved_in_directions(path, flat, &gradient, rate, scale, [sides[0], sides[D - 1]])
                    }
                };
                param.value = flat.reshape(shape);
            }
        }
        let times: BTreeMap<String, usize> =
            self.moments.iter().map(|(path, moments)| (path.clone(), moments.time)).collect();
        let times = |path: &str| times.get(path).copied().unwrap_or(0);
        self.projectors.refresh(of, &clipped.gradients, times).await?;
        of.each("", &mut Step { adam: self, clipped, learning_rate, at });
        Ok(())
    }

    fn moved(&mut self, path: &str, value: Tensor<1>, gradient: Tensor<1>, factor: &Tensor<1>, rate: f64) -> Tensor<1> {
        let Moments { time, of } = self
            .moments
            .remove(path)
            .unwrap_or_else(|| Moments { time: 0, of: [gradient.zeros_like(), gradient.zeros_like()] });
        let step = AdamwStep {
            rate,
            beta_1: self.betas[0],
            beta_2: self.betas[1],
            epsilon: 1e-8,
            weight_decay: self.weight_decay,
            time: time + 1,
        };
        let Moved { value, moments } = adamw(value, gradient, factor, of, step);
        self.moments.insert(path.to_string(), Moments { time: time + 1, of: moments });
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
        let one = Tensor::ones([1], &narrow.device());
        let step = self.moved(path, narrow.zeros_like(), narrow, &one, rate);
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
        self.moments.values().flat_map(|moments| &moments.of).map(|moment| moment.dims()[0]).sum()
    }

    /// The moments, for a checkpoint: `moment_1/PATH`, `moment_2/PATH`, and how often each parameter has moved.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn save(&self) -> Result<(BTreeMap<String, HostTensor>, BTreeMap<String, usize>), Problem> {
        let mut tensors = BTreeMap::new();
        let mut times = BTreeMap::new();
        for (path, Moments { time, of }) in &self.moments {
            for (name, moment) in ["moment_1", "moment_2"].into_iter().zip(of) {
                let data = read_f32(moment.clone()).await?;
                tensors.insert(format!("{name}/{path}"), HostTensor { shape: vec![data.len()], data });
            }
            times.insert(path.clone(), *time);
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
            let of = [moment("moment_1")?, moment("moment_2")?];
            self.moments.insert(path.clone(), Moments { time: *time, of });
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

/// What scales gradients so that their global norm is at most `limit` (0: not at all), and the norm before, `[1]`; nothing
/// is read back.
pub fn clip(gradients: Gradients, limit: f32, device: &Device) -> (Clipped, Tensor<1>) {
    let norm = global_norm(gradients.values(), device);
    let factor = match limit > 0.0 {
        // PyTorch's clip_grad_norm_: the quotient gets 1e-6 and is never above one.
        true => norm.clone().add_scalar(1e-6).recip().mul_scalar(limit).clamp_max(1.0),
        false => Tensor::ones([1], device),
    };
    (Clipped { gradients, factor }, norm)
}
