//! A linear layer and what methods add to it.

use std::rc::Rc;

use burn::tensor::Tensor;
use stratune_kernels::{Layer, group_weights, grouped_linear, linear_by_pieces};

use crate::base_layer::{BaseLayer, input, output};
use crate::{Additions, Delta, ForwardContext, ModuleId, Param, Parameters, Shared, Visitor, Weight};

/// `x Wᵀ + b`, and what methods make of it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Which layer it is.
    pub id: ModuleId,
    /// W, `[out, in]`.
    pub weight: Weight,
    /// b, `[out]`, if the model has one.
    pub bias: Option<Param<1>>,
    /// What methods add, in the order in which they enter.
    pub deltas: Vec<Box<dyn Delta>>,
}

impl Linear {
    /// A layer without a bias or an addition.
    pub fn new(id: ModuleId, weight: impl Into<Weight>) -> Self {
        Self { id, weight: weight.into(), bias: None, deltas: Vec::new() }
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.weight.dims()
    }

    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, out]`
    pub fn forward(&self, x: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        self.forward_residual(x, None, context)
    }

    /// The same, added to `residual`, if that is given.
    pub fn forward_residual(&self, x: Tensor<3>, residual: Option<Tensor<3>>, context: &ForwardContext) -> Tensor<3> {
        // What is made at once has no method in it that changes the input, so that all of it reads what the base reads.
        let read = input(&self.deltas, x.clone(), context);
        if let Some((weight, made)) = self.changed_weight(context) {
            let y = linear_by_pieces(read, &[weight.into()], context.compute);
            let y = match &self.bias {
                None => y,
                Some(bias) => y + bias.value.clone().unsqueeze(),
            };
            return plus(self.after(y, &x, made, context), residual);
        }
        let (layer, made) = self.layer(context);
        // What comes after the layer is made of its output alone.
        let (within, behind) = if self.deltas.len() == made { (residual, None) } else { (None, residual) };
        let [y] = grouped_linear(read, [layer], within);
        plus(self.after(y, &x, made, context), behind)
    }

    /// The outputs of layers that read the same input, made together where no method changes it and no weight moves.
    pub fn forward_each<const N: usize>(
        linears: [&Self; N],
        x: &Tensor<3>,
        context: &ForwardContext,
    ) -> [Tensor<3>; N] {
        let apart = |linear: &Self| linear.weight_changes() || linear.deltas.iter().any(|delta| delta.changes_input());
        if linears.into_iter().any(apart) {
            return linears.map(|linear| linear.forward(x.clone(), context));
        }
        let layers = linears.map(|linear| linear.layer(context));
        let made = layers.each_ref().map(|(_, made)| *made);
        let mut made = made.into_iter().zip(linears);
        stratune_kernels::grouped_linear(x.clone(), layers.map(|(layer, _)| layer), None).map(|y| match made.next() {
            Some((made, linear)) => linear.after(y, x, made, context),
            None => y,
        })
    }

    /// These layers, if nothing is to be done with any but what a low-rank update and biases add, so that they may be
    /// made with others as one operation.
    pub fn plain<const N: usize>(linears: [&Self; N], context: &ForwardContext) -> Option<[Layer; N]> {
        let layers = linears.map(|linear| linear.layer(context));
        let plain =
            |(linear, (_, made)): (&Self, &(Layer, usize))| !linear.weight_changes() && linear.deltas.len() == *made;
        linears.into_iter().zip(&layers).all(plain).then(|| layers.map(|(layer, _)| layer))
    }

    /// Puts the weights of layers that read the same input where one dispatch can read all of them.
    pub fn group_weights<const N: usize>(linears: [&mut Self; N]) {
        let matrices = linears.iter().map(|linear| linear.weight.matrix()).collect();
        for (linear, matrix) in linears.into_iter().zip(group_weights(matrices)) {
            linear.weight.put(matrix);
        }
    }

    /// Whether the weight trains, or the first method adds to it what is as large.
    fn weight_changes(&self) -> bool {
        let moved = self.deltas.first().is_some_and(|delta| delta.is_dense());
        self.weight.trains() || moved && matches!(self.weight, Weight::Floats(_))
    }

    /// The weight, if it moves, with what the first additions are, and how many those are: one product instead of two.
    fn changed_weight(&self, context: &ForwardContext) -> Option<(Tensor<2>, usize)> {
        let Weight::Floats(weight) = &self.weight else { return None };
        let updates = self.deltas.iter().map_while(|delta| delta.dense(context));
        self.weight_changes()
            .then(|| updates.fold((weight.value.clone(), 0), |(sum, made), update| (sum + update, made + 1)))
    }

    /// What is made at once, and how many of the first additions that has in it: one low-rank update, and biases.
    fn layer(&self, context: &ForwardContext) -> (Layer, usize) {
        let bias = self.bias.as_ref().map(|bias| bias.value.clone());
        let mut layer = Layer { weight: self.weight.matrix(), update: None, bias, compute: context.compute };
        let mut made = 0;
        for delta in &self.deltas {
            if let Some(more) = delta.bias(context) {
                layer.bias = Some(layer.bias.map_or(more.clone(), |bias| bias + more));
            } else if layer.update.is_none()
                && let Some(update) = delta.factors(context)
            {
                layer.update = Some(update);
            } else {
                break;
            }
            made += 1;
        }
        (layer, made)
    }

    /// The output, from that of the layer with its bias and the first `made` additions.
    fn after(&self, y: Tensor<3>, x: &Tensor<3>, made: usize, context: &ForwardContext) -> Tensor<3> {
        let base = BaseLayer { weight: &self.weight, bias: self.bias.as_ref().map(|bias| &bias.value) };
        output(&self.deltas, made, (x, y), base, context)
    }

    /// Moves the additions into weight and bias.
    pub fn merge(&mut self, shared: &Shared) {
        let context = ForwardContext::inference(0, Rc::new(shared.clone()));
        for delta in std::mem::take(&mut self.deltas) {
            let bias = self.bias.take().map(|b| b.value);
            let (weight, bias) = delta.merge(self.weight.dense(), bias, &context);
            self.weight = weight.into();
            self.bias = bias.map(Param::frozen);
        }
    }
}

fn plus(y: Tensor<3>, residual: Option<Tensor<3>>) -> Tensor<3> {
    match residual {
        None => y,
        Some(residual) => residual + y,
    }
}

impl Parameters for Linear {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.weight.each(&self.id, visitor);
        if let Some(bias) = &mut self.bias {
            visitor.visit(&self.id.param("bias"), bias);
        }
        for delta in &mut self.deltas {
            delta.each(&self.id, visitor);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use burn::tensor::{Device, TensorData};
    use stratune_kernels::linear;
    use stratune_protocol::Role;
    use stratune_runtime::block_on;

    use super::*;
    use crate::{
        Dropout, Gradients, MethodConfig, MethodKind, ParamId, Site, VeraMatrices, collect_gradients, require_grad,
    };

    fn wave<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
        let numbers = (0..shape.iter().product()).map(|i: usize| ((i as f32 + 1.0) * step).sin()).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
    }

    /// No number of what trains is 0, so that all gradients are seen.
    struct Moved(f32);
    impl Visitor for Moved {
        fn visit<const D: usize>(&mut self, _: &ParamId, param: &mut Param<D>) {
            self.0 += 0.31;
            if param.trainable {
                param.value = wave(param.value.dims(), self.0);
            }
        }
    }

    /// What a low-rank method gives within the layer's product is what it gives beside it: values, and the gradients of
    /// all that trains and of the input. Where dropout changes its input it is beside it.
    #[test]
    fn low_rank_updates_within_the_layer_are_those_beside_it() {
        let device = Device::flex();
        let (weight, x, dy) = (wave([12, 8], 0.7), wave([2, 5, 8], 1.3), wave([2, 5, 12], 1.9));
        for (kind, dropout) in [MethodKind::Lora, MethodKind::Adalora, MethodKind::Vera]
            .into_iter()
            .flat_map(|kind| [0.0, 0.5].map(|dropout| (kind, dropout)))
        {
            let set = MethodConfig::new(kind);
            let config = MethodConfig { rank: Some(3), initial_rank: Some(3), dropout: Some(dropout), ..set };
            let id = ModuleId::new(Some(0), "up_proj");
            let of = id.clone();
            let weight_of = weight.clone();
            let site = Site { id, role: Role::Up, index: 5, weight: weight_of, bias: None, sites: 1, seed: 1 };
            let mut delta = block_on(config.delta_at(&site)).unwrap().unwrap();
            delta.each(&of, &mut Moved(0.5));
            let shared = Shared { vera: Some(VeraMatrices::new(3, [12, 8], 7, &device)), ..Shared::default() };
            let dropout_key = Some(Dropout { seed: 3, batch: 1 });
            let context =
                ForwardContext { damping: 0.6, dropout: dropout_key, ..ForwardContext::inference(0, Rc::new(shared)) };
            assert_eq!(delta.factors(&context).is_some(), dropout == 0.0, "{kind:?}");
            let made = |within: bool| {
                let mut layer = Linear { deltas: vec![delta.clone()], ..Linear::new(of.clone(), weight.clone()) };
                require_grad(&mut layer);
                let x = x.clone().autodiff().require_grad();
                let y = match within {
                    true => layer.forward(x.clone(), &context),
                    false => {
                        let y = linear(x.clone(), weight.clone());
                        let base = BaseLayer { weight: &layer.weight, bias: None };
                        output(&layer.deltas, 0, (&x, y), base, &context)
                    }
                };
                let mut tape = (y.clone() * dy.clone().autodiff()).sum().backward();
                let mut gradients = Gradients::new();
                collect_gradients(&mut layer, &mut tape, &mut gradients);
                gradients.insert("y".into(), y.inner().reshape([-1]));
                gradients.insert("x".into(), x.grad(&tape).unwrap().inner().reshape([-1]));
                let read = |(path, t): (String, Tensor<1>)| (path, t.into_data().iter::<f32>().collect::<Vec<_>>());
                gradients.into_iter().map(read).collect::<BTreeMap<_, _>>()
            };
            let (within, beside) = (made(true), made(false));
            assert!(within.len() >= 4 && within.keys().eq(beside.keys()), "{kind:?}: {:?}", within.keys());
            for (path, got) in &within {
                for (got, want) in got.iter().zip(&beside[path]) {
                    // Sums of 12 products in f32 in another order.
                    assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{kind:?}, {path}: {got} for {want}");
                }
            }
        }
    }
}
