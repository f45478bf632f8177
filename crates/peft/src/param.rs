//! Parameters, and walking over them.

use std::collections::BTreeMap;

use burn::tensor::{Gradients as Tape, Tensor};

/// A tensor of a model, and whether the run trains it.
#[derive(Clone, Debug)]
pub struct Param<const D: usize> {
    /// Its value. Outside a backward pass it is never on an autodiff graph.
    pub value: Tensor<D>,
    /// Whether the method trains it.
    pub trainable: bool,
}

impl<const D: usize> Param<D> {
    /// A tensor that stays as it is.
    pub fn frozen(value: Tensor<D>) -> Self {
        Self { value, trainable: false }
    }

    /// A tensor that the method trains.
    pub fn trainable(value: Tensor<D>) -> Self {
        Self { value, trainable: true }
    }
}

/// Something that looks at parameters one by one, and may change them.
pub trait Visitor {
    /// Called with each parameter and its checkpoint path, such as `model.layers.0.self_attn.q_proj.weight`.
    fn visit<const D: usize>(&mut self, path: &str, param: &mut Param<D>);
}

/// Something that has parameters.
pub trait Parameters {
    /// Shows every parameter to `visitor`, always in the same order; `path` is this thing's own path.
    fn each(&mut self, path: &str, visitor: &mut impl Visitor);
}

/// Gradients by parameter path, flattened.
pub type Gradients = BTreeMap<String, Tensor<1>>;

/// Puts the trainable parameters on an autodiff graph. Use it on a clone: tensors are shared, so a clone is cheap.
pub fn track(of: &mut impl Parameters, path: &str) {
    struct Track;
    impl Visitor for Track {
        fn visit<const D: usize>(&mut self, _: &str, param: &mut Param<D>) {
            if param.trainable {
                param.value = param.value.clone().autodiff().require_grad();
            }
        }
    }
    of.each(path, &mut Track);
}

/// Takes the gradients of the tracked parameters off the tape and adds them to `into`.
pub fn collect_gradients(of: &mut impl Parameters, path: &str, tape: &mut Tape, into: &mut Gradients) {
    struct Collect<'a>(&'a mut Tape, &'a mut Gradients);
    impl Visitor for Collect<'_> {
        fn visit<const D: usize>(&mut self, path: &str, param: &mut Param<D>) {
            if !param.trainable {
                return;
            }
            if let Some(gradient) = param.value.grad_remove(self.0) {
                add_gradient(self.1, path, gradient);
            }
        }
    }
    of.each(path, &mut Collect(tape, into));
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
        fn visit<const D: usize>(&mut self, _: &str, param: &mut Param<D>) {
            if param.trainable {
                self.0 += param.value.shape().num_elements() as u64;
            }
        }
    }
    let mut count = Count(0);
    of.each("", &mut count);
    count.0
}

/// The trainable parameters by path, with their shapes. Tensors are shared, not copied.
pub fn snapshot(of: &mut impl Parameters) -> BTreeMap<String, (Vec<usize>, Tensor<1>)> {
    gather(of, false)
}

/// All parameters by path, with their shapes. Tensors are shared, not copied.
pub fn everything(of: &mut impl Parameters) -> BTreeMap<String, (Vec<usize>, Tensor<1>)> {
    gather(of, true)
}

fn gather(of: &mut impl Parameters, frozen_too: bool) -> BTreeMap<String, (Vec<usize>, Tensor<1>)> {
    struct Gather {
        frozen_too: bool,
        taken: BTreeMap<String, (Vec<usize>, Tensor<1>)>,
    }
    impl Visitor for Gather {
        fn visit<const D: usize>(&mut self, path: &str, param: &mut Param<D>) {
            if param.trainable || self.frozen_too {
                let shape = param.value.dims();
                let flat = param.value.clone().reshape([shape.iter().product::<usize>()]);
                self.taken.insert(path.to_string(), (shape.to_vec(), flat));
            }
        }
    }
    let mut pass = Gather { frozen_too, taken: BTreeMap::new() };
    of.each("", &mut pass);
    pass.taken
}

/// Puts values from a [`snapshot`] back.
///
/// # Errors
/// Names the first trainable parameter whose value is missing or has another size.
pub fn restore(of: &mut impl Parameters, values: &BTreeMap<String, Tensor<1>>) -> Result<(), String> {
    struct Restore<'a>(&'a BTreeMap<String, Tensor<1>>, Option<String>);
    impl Visitor for Restore<'_> {
        fn visit<const D: usize>(&mut self, path: &str, param: &mut Param<D>) {
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
    let mut pass = Restore(values, None);
    of.each("", &mut pass);
    pass.1.map_or(Ok(()), Err)
}
