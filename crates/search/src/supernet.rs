//! The network that has every module of the space at its largest size, and the gates that make a smaller one of it.
//!
//! A gate multiplies what its module adds, and leaves the first ranks of it alone. It is multiplied into parameters before a
//! step and taken out of their gradients behind it ([`Switch`](stratune_peft::Switch)), so that the layers run as in any other
//! run. A smaller update is the first rows and columns of the largest one: all sizes share their weights.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use stratune_models::Model;
use stratune_peft::{Gradients, Param, ParamId, Parameters, Scaled, Values, Visitor, named_parameters, snapshot};
use stratune_protocol::{Problem, ProblemKind};
use stratune_runtime::read_f32;

use crate::Space;

/// What a module's parameters are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// How many ranks are there.
    pub size: usize,
    /// What the module adds is multiplied by this.
    pub scale: f32,
}

impl Gate {
    /// Nothing is there.
    pub const OFF: Self = Self { size: 0, scale: 0.0 };

    /// So many ranks are there, and none if that is 0.
    pub fn of(size: usize) -> Self {
        Self { size, scale: if size == 0 { 0.0 } else { 1.0 } }
    }
}

/// The slope of the loss in what a module adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slopes {
    /// In what each rank adds; empty for what has none.
    pub ranks: Vec<f64>,
    /// In the rest.
    pub rest: f64,
}

impl Slopes {
    /// In all that a module of this size adds.
    pub fn of_size(&self, size: usize) -> f64 {
        self.ranks.iter().take(size).sum::<f64>() + self.rest
    }
}

/// How much a module matters: θ ⊙ ∂L/∂θ of its parameters on the rows that train (w) and on those set apart (a).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sensitivity {
    /// Σ |θ ⊙ ∂L_w/∂θ|.
    pub train: f64,
    /// Σ |θ ⊙ ∂L_a/∂θ|.
    pub apart: f64,
    /// The mean over its tensors of the cosine of the two.
    pub cosine: f64,
}

/// A parameter of a module.
#[derive(Clone, Debug)]
struct Part {
    module: usize,
    scaled: Scaled,
    /// Of a matrix the length of a row.
    columns: usize,
    /// What the model itself has there, for [`Scaled::From`].
    base: Option<Tensor<1>>,
}

/// θ ⊙ ∂L/∂θ by parameter.
pub(crate) type Products = BTreeMap<String, Tensor<1>>;
/// Parameters as they are without gates.
pub type Raw = BTreeMap<String, Tensor<1>>;

/// Where the parameters of a space are in a model.
#[derive(Clone, Debug)]
pub struct Supernet {
    parts: BTreeMap<String, Part>,
    modules: usize,
}

impl Supernet {
    /// The space's parameters in a model that has its methods.
    ///
    /// # Errors
    /// A module has none there.
    pub fn new(space: &Space, model: &mut Model) -> Result<Self, Problem> {
        let there = snapshot(model);
        let needs_base = |scaled: &Scaled| matches!(scaled, Scaled::From(_));
        let any_base =
            space.modules.iter().any(|m| m.at.switch.parameters.iter().any(|(_, scaled)| needs_base(scaled)));
        let all = if any_base { named_parameters(model) } else { Values::new() };
        let mut parts = BTreeMap::new();
        for (i, module) in space.modules.iter().enumerate() {
            let before = parts.len();
            for (path, scaled) in module.at.parameters() {
                let Some((shape, _)) = there.get(&path) else { continue };
                let base = match scaled {
                    Scaled::From(name) => {
                        let of = module.at.paths.iter().find(|of| path.starts_with(&format!("{of}.")));
                        of.and_then(|of| all.get(&format!("{of}.{name}"))).map(|(_, value)| value.clone())
                    }
                    _ => None,
                };
                let columns = shape.last().copied().unwrap_or(1);
                parts.insert(path, Part { module: i, scaled, columns, base });
            }
            if parts.len() == before {
                let what = format!("{} has no parameter in the model", module.name());
                return Err(Problem::new(ProblemKind::Internal, what));
            }
        }
        Ok(Self { parts, modules: space.modules.len() })
    }

    /// Multiplies the gates into a model's parameters, and gives those as they were.
    pub fn close(&self, model: &mut Model, gates: &[Gate]) -> Raw {
        struct Close<'a>(&'a Supernet, &'a [Gate], Raw);
        impl Visitor for Close<'_> {
            fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
                let Some(part) = self.0.parts.get(&id.path).filter(|_| param.trainable) else { return };
                let shape = param.value.shape();
                let raw = param.value.clone().reshape([shape.num_elements()]);
                if let Some(gated) = part.gated(raw.clone(), self.1[part.module], part.base.as_ref()) {
                    param.value = gated.reshape(shape);
                    self.2.insert(id.path.clone(), raw);
                }
            }
        }
        let mut close = Close(self, gates, Raw::new());
        model.each(&mut close);
        close.2
    }

    /// Puts parameters back as they were.
    pub fn open(model: &mut Model, raw: &Raw) {
        struct Open<'a>(&'a Raw);
        impl Visitor for Open<'_> {
            fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
                if let Some(raw) = self.0.get(&id.path) {
                    param.value = raw.clone().reshape(param.value.shape());
                }
            }
        }
        model.each(&mut Open(raw));
    }

    /// Makes gradients of what was multiplied those of the parameters.
    pub fn through_gates(&self, gradients: &mut Gradients, gates: &[Gate]) {
        for (path, part) in &self.parts {
            if let Some(gradient) = gradients.get_mut(path)
                && let Some(gated) = part.gated(gradient.clone(), gates[part.module], None)
            {
                *gradient = gated;
            }
        }
    }

    /// The slopes in what each module adds. `gradients` are those of the multiplied parameters, `values` the parameters.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn slopes(&self, values: &Values, gradients: &Gradients) -> Result<Vec<Slopes>, Problem> {
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        for (path, part) in self.parts.iter().filter(|(_, part)| part.scaled != Scaled::No) {
            let (Some(gradient), Some((_, value))) = (gradients.get(path), values.get(path)) else { continue };
            let product = gradient.clone() * part.added(value.clone());
            let count = product.dims()[0];
            let (sums, length) = match part.scaled {
                Scaled::Columns => {
                    let rows = count / part.columns.max(1);
                    (product.reshape([rows, part.columns]).sum_dim(0).reshape([part.columns]), part.columns)
                }
                _ => (product.sum(), 1),
            };
            asked.push((part, length));
            told.push(sums);
        }
        let mut slopes = vec![Slopes::default(); self.modules];
        let mut numbers = read_all(told).await?.into_iter();
        for (part, length) in asked {
            let of = &mut slopes[part.module];
            match part.scaled {
                Scaled::Columns => {
                    of.ranks.resize(length.max(of.ranks.len()), 0.0);
                    of.ranks.iter_mut().take(length).for_each(|sum| *sum += numbers.next().unwrap_or(0.0));
                }
                _ => of.rest += numbers.next().unwrap_or(0.0),
            }
        }
        Ok(slopes)
    }

    /// θ ⊙ ∂L/∂θ of every parameter that has a gradient.
    pub(crate) fn products(&self, values: &Values, gradients: &Gradients) -> Products {
        let of = |(path, part): (&String, &Part)| {
            let (gradient, (_, value)) = (gradients.get(path)?, values.get(path)?);
            Some((path.clone(), gradient.clone() * part.added(value.clone())))
        };
        self.parts.iter().filter_map(of).collect()
    }

    /// How much each module matters by both kinds of rows. A tensor that is zero by one of them has no direction, and a cosine
    /// of 0.
    pub(crate) async fn sensitivity(&self, train: &Products, apart: &Products) -> Result<Vec<Sensitivity>, Problem> {
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        for (path, part) in &self.parts {
            let Some(w) = train.get(path) else { continue };
            let a = apart.get(path).cloned().unwrap_or_else(|| w.zeros_like());
            asked.push(part.module);
            told.extend([w.clone().abs().sum(), a.clone().abs().sum()]);
            told.extend([(w.clone() * a.clone()).sum(), (w.clone() * w.clone()).sum(), (a.clone() * a).sum()]);
        }
        let numbers = read_all(told).await?;
        let (mut found, mut tensors) = (vec![Sensitivity::default(); self.modules], vec![0_usize; self.modules]);
        for (module, five) in asked.into_iter().zip(numbers.chunks_exact(5)) {
            let of = &mut found[module];
            of.train += five[0];
            of.apart += five[1];
            let norms = (five[3] * five[4]).sqrt();
            of.cosine += if norms > 0.0 { five[2] / norms } else { 0.0 };
            tensors[module] += 1;
        }
        found.iter_mut().zip(tensors).for_each(|(of, tensors)| of.cosine /= tensors.max(1) as f64);
        Ok(found)
    }

    /// The sums of squares of each module's tensors, of those that what it adds is linear in or of all.
    pub(crate) async fn squares(
        &self,
        tensors: &BTreeMap<String, Tensor<1>>,
        linear: bool,
    ) -> Result<Vec<f64>, Problem> {
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        for (path, part) in self.parts.iter().filter(|(_, part)| !linear || part.scaled != Scaled::No) {
            let Some(tensor) = tensors.get(path) else { continue };
            let tensor = if linear { part.added(tensor.clone()) } else { tensor.clone() };
            asked.push(part.module);
            told.push((tensor.clone() * tensor).sum());
        }
        let mut sums = vec![0.0; self.modules];
        asked.into_iter().zip(read_all(told).await?).for_each(|(module, sum)| sums[module] += sum);
        Ok(sums)
    }
}

impl Part {
    /// What of a parameter is added to the model.
    fn added(&self, value: Tensor<1>) -> Tensor<1> {
        match &self.base {
            Some(base) => value - base.clone(),
            None => value,
        }
    }

    /// `values` behind a gate; none if they stay as they are. What stands in for a tensor of the model's own moves from that,
    /// a gradient has nothing to move from.
    fn gated(&self, values: Tensor<1>, gate: Gate, base: Option<&Tensor<1>>) -> Option<Tensor<1>> {
        let open = gate.scale == 1.0 && (self.scaled != Scaled::Columns || gate.size >= self.columns);
        if open || self.scaled == Scaled::No {
            return None;
        }
        let count = values.dims()[0];
        Some(match (self.scaled, base) {
            (Scaled::Columns, _) if gate.size < self.columns && gate.scale != 0.0 => {
                let row: Vec<f32> = (0..self.columns).map(|k| if k < gate.size { gate.scale } else { 0.0 }).collect();
                let row = Tensor::<2>::from_data(TensorData::new(row, [1, self.columns]), &values.device());
                (values.reshape([count / self.columns, self.columns]) * row).reshape([count])
            }
            (Scaled::From(_), Some(base)) => base.clone() + (values - base.clone()).mul_scalar(gate.scale),
            _ => values.mul_scalar(gate.scale),
        })
    }
}

/// The numbers of some vectors, one after the other, in one reading.
async fn read_all(vectors: Vec<Tensor<1>>) -> Result<Vec<f64>, Problem> {
    if vectors.is_empty() {
        return Ok(Vec::new());
    }
    Ok(read_f32(Tensor::cat(vectors, 0)).await?.into_iter().map(f64::from).collect())
}
