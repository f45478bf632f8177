//! AdamW over the parameters that have a gradient (Loshchilov and Hutter 2019, algorithm 2).
//!
//! A parameter without a gradient at a step is left exactly as it is: no decay, its moments and its step count wait for
//! it. That is what makes sparse tuning sparse.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Shape, Tensor, TensorData};
use rand::RngExt;
use stratune_kernels::{AdamwOutput, AdamwStep, GroupedGradients, adamw, group_gradients};
use stratune_peft::{Gradients, Param, ParamId, Parameters, UpdateRule, Visitor};
use stratune_protocol::{Problem, draws};
use stratune_store::HostTensor;

use crate::optimiser_state::OptimiserState;
use crate::projected::Projectors;

/// AdamW with β = (0.9, 0.999) and ε = 1e-8, as PyTorch has it.
#[derive(Clone)]
pub struct AdamW {
    weight_decay: f32,
    betas: [f32; 2],
    state: OptimiserState,
    projectors: Projectors,
}

/// The seed and the step of a run, by which random draws are keyed.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepKey {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: usize,
}

/// Most numbers of a parameter that is updated in a group with others of its block: to lay larger ones side by side
/// would cost more than the dispatches that it saves.
const MAX_GROUPED: usize = 1 << 18;

/// A parameter that is to be updated.
struct UpdatedParam {
    path: String,
    value: Tensor<1>,
    shape: Shape,
    rule: UpdateRule,
}

/// What the parameters of a group have in common, which are updated in one dispatch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    /// Their block, if they are in one.
    block: Option<usize>,
    /// The path of one that is a group by itself.
    alone: Option<String>,
    /// Steps so far.
    step_count: usize,
    /// Bits of their learning rate.
    rate: u64,
}

/// A group's step.
struct GroupStep<'a> {
    /// What their gradients are multiplied by, `[1]`.
    factor: &'a Tensor<1>,
    /// Steps so far.
    step_count: usize,
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
        Self { weight_decay, betas, state: OptimiserState::default(), projectors: Projectors::default() }
    }

    /// Moves every parameter that has a gradient, each by its rule and at the learning rate that `rate` gives for its block,
    /// after scaling all gradients so that their global norm is at most `max_norm` (0: not at all). Gives the norm
    /// before, `[1]`, which is not read back.
    pub fn step(
        &mut self,
        of: &mut impl Parameters,
        gradients: Gradients,
        max_norm: f32,
        rate: impl Fn(Option<usize>) -> f64,
        at: StepKey,
    ) -> Tensor<1> {
        let step_counts = self.state.step_counts();
        let (device, groups) = (Device::default(), BTreeMap::new());
        let mut collector =
            GroupCollector { gradients, step_counts, learning_rate: &rate, device, nothing: None, groups };
        of.each(&mut collector);
        let device = collector.device;
        let (keys, (groups, gradients)): (Vec<GroupKey>, (Vec<Vec<UpdatedParam>>, Vec<_>)) =
            collector.groups.into_iter().map(|(key, params)| (key, params.into_iter().unzip())).unzip();
        let GroupedGradients { groups: gradients, norm } = group_gradients(gradients, &device);
        let factor = clip_factor(&norm, max_norm);
        let mut values = BTreeMap::new();
        for ((key, params), gradients) in keys.into_iter().zip(groups).zip(gradients) {
            let rate = f64::from_bits(key.rate);
            let owners: Vec<_> = params.iter().map(|updated| (updated.path.clone(), updated.shape.clone())).collect();
            let moved = self.step_group(
                params,
                gradients,
                &GroupStep { factor: &factor, step_count: key.step_count, rate },
                at,
            );
            values.extend(owners.into_iter().zip(moved).map(|((path, shape), value)| (path, (shape, value))));
        }
        of.each(&mut WriteBack(values));
        norm
    }

    /// Chooses the directions of projected gradients that are due.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn choose_directions(&mut self, of: &mut impl Parameters, gradients: &Gradients) -> Result<(), Problem> {
        let step_counts = self.state.step_counts();
        self.projectors.refresh(of, gradients, |path| step_counts.get(path).copied().unwrap_or(0)).await
    }

    /// The values of a group after its step.
    fn step_group(
        &mut self,
        params: Vec<UpdatedParam>,
        gradients: Vec<Tensor<1>>,
        group: &GroupStep,
        at: StepKey,
    ) -> Vec<Tensor<1>> {
        if let ([updated @ UpdatedParam { rule: UpdateRule::Projected { scale, .. }, .. }], [gradient]) =
            (&params[..], &gradients[..])
        {
            return vec![self.galore_step(updated, *scale, gradient, group)];
        }
        let ruled = |(updated, gradient): (&UpdatedParam, Tensor<1>)| match updated.rule {
            UpdateRule::Masked { share } => masked(gradient, share, &updated.path, at),
            UpdateRule::Plain | UpdateRule::Projected { .. } => gradient,
        };
        let gradients = params.iter().zip(gradients).map(ruled).collect();
        let (paths, values) = params.into_iter().map(|updated| (updated.path, updated.value)).unzip();
        self.adamw_group(paths, values, gradients, group)
    }

    fn adamw_group(
        &mut self,
        paths: Vec<String>,
        values: Vec<Tensor<1>>,
        gradients: Vec<Tensor<1>>,
        group: &GroupStep,
    ) -> Vec<Tensor<1>> {
        let counts = values.iter().map(|value| value.dims()[0]).collect();
        let moments = self.state.take(&paths, counts, &group.factor.device());
        let step_count = group.step_count + 1;
        let step = AdamwStep {
            rate: group.rate,
            beta_1: self.betas[0],
            beta_2: self.betas[1],
            epsilon: 1e-8,
            weight_decay: self.weight_decay,
            step_count,
        };
        let AdamwOutput { values, moments } = adamw(values, gradients, group.factor, moments, step);
        self.state.put(paths, step_count, moments);
        values
    }

    /// GaLore's step. The rule's own decay is of the zeros it is given, so the matrix's is here.
    fn galore_step(
        &mut self,
        updated: &UpdatedParam,
        scale: f32,
        gradient: &Tensor<1>,
        group: &GroupStep,
    ) -> Tensor<1> {
        let UpdatedParam { path, value, shape, .. } = updated;
        let sides = [shape[0], shape[shape.num_dims() - 1]];
        let gradient = gradient.clone() * group.factor.clone();
        let Some(narrow) = self.projectors.project(path, &gradient, sides) else { return value.clone() };
        let own = GroupStep { factor: &Tensor::ones([1], &narrow.device()), ..*group };
        let step = self.adamw_group(vec![path.clone()], vec![narrow.zeros_like()], vec![narrow], &own).pop();
        let Some(step) = step.and_then(|step| self.projectors.project_back(path, step, sides)) else {
            return value.clone();
        };
        value.clone().mul_scalar(1.0 - group.rate * f64::from(self.weight_decay)) + step.mul_scalar(scale)
    }

    /// Forgets the state of these parameters.
    pub fn release(&mut self, of: &mut impl Parameters) {
        let mut paths = Paths(BTreeSet::new());
        of.each(&mut paths);
        self.state.release(&paths.0);
        self.projectors.release(&paths.0);
    }

    /// Numbers that the state holds.
    pub fn state_size(&self) -> usize {
        self.state.size()
    }

    /// The state, for a checkpoint, and how many steps each parameter has had.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn save(&self) -> Result<(BTreeMap<String, HostTensor>, BTreeMap<String, usize>), Problem> {
        let mut tensors = self.state.save().await?;
        tensors.extend(self.projectors.save().await?);
        Ok((tensors, self.state.step_counts()))
    }

    /// Takes the state out of a checkpoint.
    ///
    /// # Errors
    /// A moment is missing, or does not fit its parameter.
    pub fn load(
        &mut self,
        of: &mut impl Parameters,
        tensors: &BTreeMap<String, HostTensor>,
        step_counts: &BTreeMap<String, usize>,
        device: &Device,
    ) -> Result<(), Problem> {
        let mut counts = Counts(BTreeMap::new());
        of.each(&mut counts);
        self.state = OptimiserState::load(tensors, step_counts, |path| counts.0.get(path).copied(), device)?;
        self.projectors.load(tensors, device);
        Ok(())
    }
}

/// Takes the values out of the parameters that have a gradient.
struct GroupCollector<'a> {
    gradients: Gradients,
    step_counts: BTreeMap<String, usize>,
    /// By block, before the parameter's own share of it.
    learning_rate: &'a dyn Fn(Option<usize>) -> f64,
    /// Where the parameters are.
    device: Device,
    /// What stands in a parameter while it is updated.
    nothing: Option<Tensor<1>>,
    groups: BTreeMap<GroupKey, Vec<(UpdatedParam, Tensor<1>)>>,
}

impl Visitor for GroupCollector<'_> {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        let path = &id.path;
        self.device = param.value.device();
        let Some(gradient) = self.gradients.remove(path).filter(|_| param.trainable) else { return };
        let (shape, rule) = (param.value.shape(), param.rule);
        let count = gradient.dims()[0];
        let alone = count > MAX_GROUPED || matches!(rule, UpdateRule::Projected { .. });
        let alone = alone.then(|| path.clone());
        let step_count = self.step_counts.get(path).copied().unwrap_or(0);
        // Not both the values before and those after are there for longer than a group takes to update.
        let nothing = self.nothing.get_or_insert_with(|| Tensor::zeros([1], &self.device)).clone();
        let value = std::mem::replace(&mut param.value, nothing.reshape([1; D])).reshape([count]);
        let updated = UpdatedParam { path: path.clone(), value, shape, rule };
        let rate = (self.learning_rate)(id.block) * param.rate;
        self.groups
            .entry(GroupKey { block: id.block, alone, step_count, rate: rate.to_bits() })
            .or_default()
            .push((updated, gradient));
    }
}

/// How many numbers the moments of each parameter have.
struct Counts(BTreeMap<String, usize>);

impl Visitor for Counts {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        let sides = param.value.dims();
        let count = match param.rule {
            UpdateRule::Projected { rank, .. } => {
                let (first, last) = (sides[0], sides[D - 1]);
                rank.min(first.min(last)) * first.max(last)
            }
            UpdateRule::Plain | UpdateRule::Masked { .. } => sides.iter().product(),
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
struct WriteBack(BTreeMap<String, (Shape, Tensor<1>)>);

impl Visitor for WriteBack {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        if let Some((shape, value)) = self.0.remove(&id.path) {
            param.value = value.reshape(shape);
        }
    }
}

/// Child-tuning F (Xu et al. 2021, arXiv 2109.05687, eq. 4): a random share of the entries, over that share. As in the
/// authors' code the moments see the zeros of the others, and weight decay is of the whole.
fn masked(gradient: Tensor<1>, share: f32, path: &str, at: StepKey) -> Tensor<1> {
    let mut rng = draws(at.seed, path, [at.step as u64, u64::from_le_bytes(*b"child   ")]);
    let count = gradient.dims()[0];
    let mask: Vec<f32> = (0..count).map(|_| if rng.random::<f32>() < share { 1.0 / share } else { 0.0 }).collect();
    let mask = Tensor::<1>::from_data(TensorData::new(mask, [count]), &gradient.device());
    gradient * mask
}

/// What scales gradients of this norm so that it is at most `max_norm` (0: not at all), `[1]`.
fn clip_factor(norm: &Tensor<1>, max_norm: f32) -> Tensor<1> {
    match max_norm > 0.0 {
        // PyTorch's clip_grad_norm_: the quotient gets 1e-6 and is never above one.
        true => norm.clone().add_scalar(1e-6).recip().mul_scalar(max_norm).clamp_max(1.0),
        false => norm.ones_like(),
    }
}
