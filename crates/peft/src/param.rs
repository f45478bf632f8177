//! Parameters, and walking over them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burn::tensor::{Gradients as Tape, Tensor};

/// A tensor of a model, and whether the run trains it.
#[derive(Clone, Debug)]
pub struct Param<const D: usize> {
    /// Its value. Outside a backward pass it is never on an autodiff graph.
    pub value: Tensor<D>,
    /// Whether the method trains it.
    pub trainable: bool,
    /// Its learning rate is this many times the run's.
    pub rate: f64,
    /// What the optimiser does with its gradient.
    pub rule: UpdateRule,
}

/// What the optimiser does with a parameter's gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum UpdateRule {
    /// Takes it as it is.
    #[default]
    Plain,
    /// Keeps a random share of its entries at each step, over that share (child-tuning F).
    Masked {
        /// The share.
        share: f32,
    },
    /// Sees it in a few directions alone (GaLore).
    Projected {
        /// How many.
        rank: usize,
        /// Steps until they are chosen anew.
        interval: usize,
        /// What the step is multiplied by on the way back.
        scale: f32,
    },
}

impl<const D: usize> Param<D> {
    /// A frozen tensor.
    pub fn frozen(value: Tensor<D>) -> Self {
        Self { value, trainable: false, rate: 1.0, rule: UpdateRule::Plain }
    }

    /// The same with another learning rate: `rate` times the run's.
    pub fn at_rate(self, rate: f64) -> Self {
        Self { rate, ..self }
    }

    /// A tensor that the method trains.
    pub fn trainable(value: Tensor<D>) -> Self {
        Self { value, trainable: true, rate: 1.0, rule: UpdateRule::Plain }
    }
}

/// Which module of a model something is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleId {
    /// The block it is in, from 0; none of what belongs to the whole model.
    pub block: Option<usize>,
    /// Its path, such as `model.layers.0.self_attn.q_proj`.
    pub path: Rc<str>,
}

impl ModuleId {
    /// The module of this block and path.
    pub fn new(block: Option<usize>, path: &str) -> Self {
        Self { block, path: path.into() }
    }

    /// A module within this one.
    pub fn within(&self, name: &str) -> Self {
        Self { block: self.block, path: format!("{}.{name}", self.path).into() }
    }

    /// One of its parameters, such as `weight` or `lora_A.weight`.
    pub fn param(&self, name: &str) -> ParamId {
        ParamId { block: self.block, path: format!("{}.{name}", self.path) }
    }
}

/// Which parameter of a model something is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParamId {
    /// The block it is in, from 0; none of what belongs to the whole model.
    pub block: Option<usize>,
    /// Its path, such as `model.layers.0.self_attn.q_proj.weight`.
    pub path: String,
}

/// Something that looks at parameters one by one, and may change them.
pub trait Visitor {
    /// Called with each parameter.
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>);
}

/// A model, or a part of one that knows where it is.
pub trait Parameters {
    /// Shows every parameter to `visitor`, always in the same order.
    fn each(&mut self, visitor: &mut impl Visitor);
}

impl<T: Parameters> Parameters for Option<T> {
    fn each(&mut self, visitor: &mut impl Visitor) {
        if let Some(of) = self {
            of.each(visitor);
        }
    }
}

impl<T: Parameters> Parameters for Box<T> {
    fn each(&mut self, visitor: &mut impl Visitor) {
        (**self).each(visitor);
    }
}

/// What a method adds to a module.
pub trait Additions {
    /// Shows every parameter to `visitor`, always in the same order; `of` is the module.
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor);
}

/// A parameter of a linear layer's addition.
#[derive(Debug)]
pub enum ParamMut<'a> {
    /// A vector.
    Vector(&'a mut Param<1>),
    /// A matrix.
    Matrix(&'a mut Param<2>),
}

impl<'a> From<&'a mut Param<1>> for ParamMut<'a> {
    fn from(param: &'a mut Param<1>) -> Self {
        Self::Vector(param)
    }
}

impl<'a> From<&'a mut Param<2>> for ParamMut<'a> {
    fn from(param: &'a mut Param<2>) -> Self {
        Self::Matrix(param)
    }
}

/// Parameters by the ends of their paths.
pub type Named<'a> = Vec<(&'static str, ParamMut<'a>)>;

/// Shows parameters of the module `of` to a visitor.
pub fn show(named: Named<'_>, of: &ModuleId, visitor: &mut impl Visitor) {
    for (name, param) in named {
        match param {
            ParamMut::Vector(param) => visitor.visit(&of.param(name), param),
            ParamMut::Matrix(param) => visitor.visit(&of.param(name), param),
        }
    }
}

/// Values by parameter path, flattened, with their shapes. Tensors are shared, not copied.
pub type Values = BTreeMap<String, (Vec<usize>, Tensor<1>)>;

/// Gradients by parameter path, flattened.
pub type Gradients = BTreeMap<String, Tensor<1>>;

/// Makes the trainable parameters require a gradient. Use it on a clone: tensors are shared, so a clone is cheap.
pub fn require_grad(of: &mut impl Parameters) {
    struct RequireGrad;
    impl Visitor for RequireGrad {
        fn visit<const D: usize>(&mut self, _: &ParamId, param: &mut Param<D>) {
            if param.trainable {
                param.value = param.value.clone().autodiff().require_grad();
            }
        }
    }
    of.each(&mut RequireGrad);
}

/// Takes the gradients of the tracked parameters off the tape and adds them to `into`.
pub fn collect_gradients(of: &mut impl Parameters, tape: &mut Tape, into: &mut Gradients) {
    struct Collect<'a>(&'a mut Tape, &'a mut Gradients);
    impl Visitor for Collect<'_> {
        fn visit<const D: usize>(&mut self, ParamId { path, .. }: &ParamId, param: &mut Param<D>) {
            if !param.trainable {
                return;
            }
            if let Some(gradient) = param.value.grad_remove(self.0) {
                add_gradient(self.1, path, gradient);
            }
        }
    }
    of.each(&mut Collect(tape, into));
}

/// Adds `gradient` to the one there is for `path`.
pub(crate) fn add_gradient<const D: usize>(into: &mut Gradients, path: &str, gradient: Tensor<D>) {
    let count = gradient.shape().num_elements();
    let flat = gradient.inner().reshape([count]);
    let sum = match into.remove(path) {
        Some(there) => there + flat,
        None => flat,
    };
    into.insert(path.to_string(), sum);
}

/// How many numbers train.
pub fn count_trainable(of: &mut impl Parameters) -> u64 {
    struct Count(u64);
    impl Visitor for Count {
        fn visit<const D: usize>(&mut self, _: &ParamId, param: &mut Param<D>) {
            if param.trainable {
                self.0 += param.value.shape().num_elements() as u64;
            }
        }
    }
    let mut count = Count(0);
    of.each(&mut count);
    count.0
}

/// The trainable parameters by path, with their shapes. Tensors are shared, not copied.
pub fn snapshot(of: &mut impl Parameters) -> Values {
    gather(of, |_, trainable| trainable)
}

/// The names of what a method adds, such as `.lora_A.weight`, whatever the module.
pub fn names(of: &mut (impl Additions + ?Sized)) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        fn visit<const D: usize>(&mut self, id: &ParamId, _: &mut Param<D>) {
            self.0.insert(id.path.clone());
        }
    }
    let mut found = Names(BTreeSet::new());
    of.each(&ModuleId::new(None, ""), &mut found);
    found.0
}

/// All parameters by path, with their shapes. Tensors are shared, not copied.
pub fn named_parameters(of: &mut impl Parameters) -> Values {
    gather(of, |_, _| true)
}

/// What methods have added to or train in a model whose own parameters are `base`: what an adapter holds.
pub fn adapter_values(of: &mut impl Parameters, base: &BTreeSet<String>) -> Values {
    gather(of, |path, trainable| trainable || !base.contains(path))
}

fn gather(of: &mut impl Parameters, wanted: impl Fn(&str, bool) -> bool) -> Values {
    struct Gather<F> {
        wanted: F,
        taken: Values,
    }
    impl<F: Fn(&str, bool) -> bool> Visitor for Gather<F> {
        fn visit<const D: usize>(&mut self, ParamId { path, .. }: &ParamId, param: &mut Param<D>) {
            if (self.wanted)(path, param.trainable) {
                let shape = param.value.dims();
                let flat = param.value.clone().reshape([shape.iter().product::<usize>()]);
                self.taken.insert(path.to_string(), (shape.to_vec(), flat));
            }
        }
    }
    let mut visitor = Gather { wanted, taken: Values::new() };
    of.each(&mut visitor);
    visitor.taken
}

/// Why values do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateMismatch {
    /// There is none for this parameter.
    Missing(String),
    /// There is no parameter for this one.
    Unexpected(String),
    /// The parameter's shape is the second one.
    Shape(String, Vec<usize>, Vec<usize>),
}

/// Puts values from [`added`] back, all of them and no others.
///
/// # Errors
/// Names the first that does not fit.
pub fn restore_adapter(
    of: &mut impl Parameters,
    base: &BTreeSet<String>,
    values: &Values,
) -> Result<(), StateMismatch> {
    struct Restore<'a> {
        base: &'a BTreeSet<String>,
        values: &'a Values,
        used: BTreeSet<String>,
        mismatch: Option<StateMismatch>,
    }
    impl Visitor for Restore<'_> {
        fn visit<const D: usize>(&mut self, ParamId { path, .. }: &ParamId, param: &mut Param<D>) {
            let held = param.trainable || !self.base.contains(path);
            if self.mismatch.is_some() || !held {
                return;
            }
            let want = param.value.dims().to_vec();
            match self.values.get(path) {
                None => self.mismatch = Some(StateMismatch::Missing(path.into())),
                Some((shape, _)) if *shape != want && !is_flat(shape, &want) => {
                    self.mismatch = Some(StateMismatch::Shape(path.into(), shape.clone(), want));
                }
                Some((_, value)) => {
                    param.value = value.clone().reshape(param.value.shape());
                    self.used.insert(path.into());
                }
            }
        }
    }
    let mut visitor = Restore { base, values, used: BTreeSet::new(), mismatch: None };
    of.each(&mut visitor);
    let extra =
        || values.keys().find(|path| !visitor.used.contains(*path)).map(|path| StateMismatch::Unexpected(path.clone()));
    visitor.mismatch.clone().or_else(extra).map_or(Ok(()), Err)
}

/// Whether a shape is another without its sides of one, as vectors were once written.
fn is_flat(shape: &[usize], of: &[usize]) -> bool {
    shape.len() == 1 && of.iter().filter(|side| **side != 1).eq(shape)
}

/// Puts values from a [`snapshot`] back.
///
/// # Errors
/// Names the first trainable parameter whose value is missing or has another size.
pub fn restore(of: &mut impl Parameters, values: &BTreeMap<String, Tensor<1>>) -> Result<(), String> {
    struct Restore<'a>(&'a BTreeMap<String, Tensor<1>>, Option<String>);
    impl Visitor for Restore<'_> {
        fn visit<const D: usize>(&mut self, ParamId { path, .. }: &ParamId, param: &mut Param<D>) {
            if !param.trainable || self.1.is_some() {
                return;
            }
            let shape = param.value.shape();
            match self.0.get(path) {
                Some(value) if value.dims()[0] == shape.num_elements() => param.value = value.clone().reshape(shape),
                _ => self.1 = Some(path.to_string()),
            }
        }
    }
    let mut visitor = Restore(values, None);
    of.each(&mut visitor);
    visitor.1.map_or(Ok(()), Err)
}
