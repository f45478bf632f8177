//! AdamW over the parameters that have a gradient (Loshchilov and Hutter 2019, algorithm 2).
//!
//! A parameter without a gradient at a step is left exactly as it is: no decay, its moments and its step count wait for
//! it. That is what makes sparse tuning sparse.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Shape, Tensor, TensorData};
use rand::RngExt;
use stratune_kernels::{AdamwStep, Gathered, Moved, adamw, gather};
use stratune_peft::{Gradients, Param, ParamId, Parameters, Rule, Visitor};
use stratune_protocol::{Problem, draws};
use stratune_store::HostTensor;

use crate::memory::Memory;
use crate::projected::Projectors;

/// AdamW with β = (0.9, 0.999) and ε = 1e-8, as PyTorch has it.
#[derive(Clone)]
pub struct AdamW {
    weight_decay: f32,
    betas: [f32; 2],
    memory: Memory,
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

/// Most numbers of a parameter that moves together with others of its block: to lay larger ones side by side would cost more
/// than the dispatches that it saves.
const SMALL: usize = 1 << 18;

/// A parameter that is to move.
struct Mover {
    path: String,
    value: Tensor<1>,
    shape: Shape,
    rule: Rule,
}

/// What parameters that move together have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bond {
    /// Their block, if they are in one.
    block: Option<usize>,
    /// The path of one that moves alone.
    alone: Option<String>,
    /// How often they have moved.
    time: usize,
    /// Bits of their learning rate.
    rate: u64,
}

/// How parameters that move together move.
struct Stride<'a> {
    /// What their gradients are multiplied by, `[1]`.
    factor: &'a Tensor<1>,
    /// How often they have moved.
    time: usize,
    /// Learning rate.
    rate: f64,
}

impl AdamW {
    /// With decoupled weight decay.
    pub fn new(weight_decay: f32) -> Self {
        Self::with_betas(weight_decay, 0.9, 0.999)
    }

    /// With decoupled weight decay and given betas.
    pub fn with_betas(weight_decay: f32, beta_1: f32, beta_2: f32) -> Self {
        let betas = [beta_1, beta_2];
        Self { weight_decay, betas, memory: Memory::default(), projectors: Projectors::default() }
    }

    /// Moves every parameter that has a gradient, each by its rule and at the learning rate that `rate` gives for its block,
    /// after scaling all gradients so that their global norm is at most `limit` (0: not at all). Gives the norm before, `[1]`,
    /// which is not read back.
    pub fn step(
        &mut self,
        of: &mut impl Parameters,
        gradients: Gradients,
        limit: f32,
        rate: impl Fn(Option<usize>) -> f64,
        at: Moment,
    ) -> Tensor<1> {
        let times = self.memory.times();
        let (device, sets) = (Device::default(), BTreeMap::new());
        let mut movers = Movers { gradients, times, learning_rate: &rate, device, nothing: None, sets };
        of.each(&mut movers);
        let device = movers.device;
        let (bonds, (sets, gradients)): (Vec<Bond>, (Vec<Vec<Mover>>, Vec<_>)) =
            movers.sets.into_iter().map(|(bond, set)| (bond, set.into_iter().unzip())).unzip();
        let Gathered { sets: gradients, norm } = gather(gradients, &device);
        let factor = factor(&norm, limit);
        let mut values = BTreeMap::new();
        for ((bond, set), gradients) in bonds.into_iter().zip(sets).zip(gradients) {
            let rate = f64::from_bits(bond.rate);
            let owners: Vec<_> = set.iter().map(|mover| (mover.path.clone(), mover.shape.clone())).collect();
            let moved = self.moved(set, gradients, &Stride { factor: &factor, time: bond.time, rate }, at);
            values.extend(owners.into_iter().zip(moved).map(|((path, shape), value)| (path, (shape, value))));
        }
        of.each(&mut GivenBack(values));
        norm
    }

    /// Chooses the directions of projected gradients that are due.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn choose_directions(&mut self, of: &mut impl Parameters, gradients: &Gradients) -> Result<(), Problem> {
        let times = self.memory.times();
        self.projectors.refresh(of, gradients, |path| times.get(path).copied().unwrap_or(0)).await
    }

    /// The values after the step of parameters that move together.
    fn moved(&mut self, set: Vec<Mover>, gradients: Vec<Tensor<1>>, stride: &Stride, at: Moment) -> Vec<Tensor<1>> {
        if let ([mover @ Mover { rule: Rule::Projected { scale, .. }, .. }], [gradient]) = (&set[..], &gradients[..]) {
            return vec![self.moved_in_directions(mover, *scale, gradient, stride)];
        }
        let ruled = |(mover, gradient): (&Mover, Tensor<1>)| match mover.rule {
            Rule::Thinned { share } => thinned(gradient, share, &mover.path, at),
            Rule::Plain | Rule::Projected { .. } => gradient,
        };
        let gradients = set.iter().zip(gradients).map(ruled).collect();
        let (paths, values) = set.into_iter().map(|mover| (mover.path, mover.value)).unzip();
        self.walked(paths, values, gradients, stride)
    }

    fn walked(
        &mut self,
        paths: Vec<String>,
        values: Vec<Tensor<1>>,
        gradients: Vec<Tensor<1>>,
        stride: &Stride,
    ) -> Vec<Tensor<1>> {
        let counts = values.iter().map(|value| value.dims()[0]).collect();
        let moments = self.memory.take(&paths, counts, &stride.factor.device());
        let time = stride.time + 1;
        let step = AdamwStep {
            rate: stride.rate,
            beta_1: self.betas[0],
            beta_2: self.betas[1],
            epsilon: 1e-8,
            weight_decay: self.weight_decay,
            time,
        };
        let Moved { values, moments } = adamw(values, gradients, stride.factor, moments, step);
        self.memory.put(paths, time, moments);
        values
    }

    /// GaLore's step. The rule's own decay is of the zeros it is given, so the matrix's is here.
    fn moved_in_directions(&mut self, mover: &Mover, scale: f32, gradient: &Tensor<1>, stride: &Stride) -> Tensor<1> {
        let Mover { path, value, shape, .. } = mover;
        let sides = [shape[0], shape[shape.num_dims() - 1]];
        let gradient = gradient.clone() * stride.factor.clone();
        let Some(narrow) = self.projectors.narrow(path, &gradient, sides) else { return value.clone() };
        let own = Stride { factor: &Tensor::ones([1], &narrow.device()), ..*stride };
        let step = self.walked(vec![path.clone()], vec![narrow.zeros_like()], vec![narrow], &own).pop();
        let Some(step) = step.and_then(|step| self.projectors.widen(path, step, sides)) else {
            return value.clone();
        };
        value.clone().mul_scalar(1.0 - stride.rate * f64::from(self.weight_decay)) + step.mul_scalar(scale)
    }

    /// Forgets the state of these parameters.
    pub fn release(&mut self, of: &mut impl Parameters) {
        let mut paths = Paths(BTreeSet::new());
        of.each(&mut paths);
        self.memory.release(&paths.0);
        self.projectors.release(&paths.0);
    }

    /// Numbers that the state holds.
    pub fn state_size(&self) -> usize {
        self.memory.size()
    }

    /// The state, for a checkpoint, and how often each parameter has moved.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn save(&self) -> Result<(BTreeMap<String, HostTensor>, BTreeMap<String, usize>), Problem> {
        let mut tensors = self.memory.save().await?;
        tensors.extend(self.projectors.save().await?);
        Ok((tensors, self.memory.times()))
    }

    /// Takes the state out of a checkpoint.
    ///
    /// # Errors
    /// A moment is missing, or does not fit its parameter.
    pub fn load(
        &mut self,
        of: &mut impl Parameters,
        tensors: &BTreeMap<String, HostTensor>,
        times: &BTreeMap<String, usize>,
        device: &Device,
    ) -> Result<(), Problem> {
        let mut counts = Counts(BTreeMap::new());
        of.each(&mut counts);
        self.memory = Memory::load(tensors, times, |path| counts.0.get(path).copied(), device)?;
        self.projectors.load(tensors, device);
        Ok(())
    }
}

/// Takes the values out of the parameters that have a gradient.
struct Movers<'a> {
    gradients: Gradients,
    times: BTreeMap<String, usize>,
    /// By block, before the parameter's own share of it.
    learning_rate: &'a dyn Fn(Option<usize>) -> f64,
    /// Where the parameters are.
    device: Device,
    /// What stands in a parameter while it moves.
    nothing: Option<Tensor<1>>,
    sets: BTreeMap<Bond, Vec<(Mover, Tensor<1>)>>,
}

impl Visitor for Movers<'_> {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        let path = &id.path;
        self.device = param.value.device();
        let Some(gradient) = self.gradients.remove(path).filter(|_| param.trainable) else { return };
        let (shape, rule) = (param.value.shape(), param.rule);
        let count = gradient.dims()[0];
        let alone = count > SMALL || matches!(rule, Rule::Projected { .. });
        let alone = alone.then(|| path.clone());
        let time = self.times.get(path).copied().unwrap_or(0);
        // Not both the values before and those after are there for longer than a set takes to move.
        let nothing = self.nothing.get_or_insert_with(|| Tensor::zeros([1], &self.device)).clone();
        let value = std::mem::replace(&mut param.value, nothing.reshape([1; D])).reshape([count]);
        let mover = Mover { path: path.clone(), value, shape, rule };
        let rate = (self.learning_rate)(id.block) * param.rate;
        self.sets
            .entry(Bond { block: id.block, alone, time, rate: rate.to_bits() })
            .or_default()
            .push((mover, gradient));
    }
}

/// How many numbers the moments of each parameter have.
struct Counts(BTreeMap<String, usize>);

impl Visitor for Counts {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        let sides = param.value.dims();
        let count = match param.rule {
            Rule::Projected { rank, .. } => {
                let (first, last) = (sides[0], sides[D - 1]);
                rank.min(first.min(last)) * first.max(last)
            }
            Rule::Plain | Rule::Thinned { .. } => sides.iter().product(),
        };
        self.0.insert(id.path.clone(), count);
    }
}

/// The paths of parameters.
struct Paths(BTreeSet<String>);

impl Visitor for Paths {
    fn visit<const D: usize>(&mut self, id: &ParamId, _: &mut Param<D>) {
        self.0.insert(id.path.clone());
    }
}

/// Gives parameters their values.
struct GivenBack(BTreeMap<String, (Shape, Tensor<1>)>);

impl Visitor for GivenBack {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        if let Some((shape, value)) = self.0.remove(&id.path) {
            param.value = value.reshape(shape);
        }
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

/// What scales gradients of this norm so that it is at most `limit` (0: not at all), `[1]`.
fn factor(norm: &Tensor<1>, limit: f32) -> Tensor<1> {
    match limit > 0.0 {
        // PyTorch's clip_grad_norm_: the quotient gets 1e-6 and is never above one.
        true => norm.clone().add_scalar(1e-6).recip().mul_scalar(limit).clamp_max(1.0),
        false => norm.ones_like(),
    }
}
