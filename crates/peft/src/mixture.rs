//! Several adapters at one layer: weighted together, or each for rows of its own in one batch.
//!
//! The base's product is computed once for the whole batch. Without rows of their own the adapters' changes are added
//! up, `y + Σ wₖ (yₖ − y)`, yₖ what adapter k makes of y; with them each row gets its adapter's change alone.

use std::rc::Rc;

use burn::tensor::Tensor;
use stratune_kernels::linear;

use crate::base_layer::{AdaptedLayer, BaseLayer, input, output};
use crate::delta::{DeltaProperties, Finalized, stays};
use crate::{Delta, ForwardContext, Named, Shared};

/// Several adapters at one layer.
#[derive(Clone, Debug)]
pub struct Mixture {
    /// The adapters that enter this layer.
    pub parts: Vec<Part>,
}

/// One adapter's share in a layer.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which adapter, counted from 1; 0 is the base.
    pub adapter: usize,
    /// How much of its change is added.
    pub weight: f32,
    /// What it adds.
    pub deltas: Vec<Box<dyn Delta>>,
    /// What its layers share.
    pub shared: Rc<Shared>,
}

impl Part {
    /// What the adapter makes of `y = x Wᵀ + b`.
    fn output(&self, x: Tensor<3>, y: Tensor<3>, base: BaseLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        let context = ForwardContext { shared: self.shared.clone(), ..context.clone() };
        let y = match self.deltas.iter().any(|delta| delta.changes_input()) {
            false => y,
            true => y + linear(input(&self.deltas, x.clone(), &context) - x.clone(), base.weight.matrix()),
        };
        output(&self.deltas, 0, (&x, y), base, &context)
    }
}

impl Mixture {
    /// The additions of all adapters.
    fn deltas(&self) -> impl Iterator<Item = &Box<dyn Delta>> {
        self.parts.iter().flat_map(|part| &part.deltas)
    }
}

impl Delta for Mixture {
    /// Adapters at work, not in training: their parameters would have one path.
    fn parameters(&mut self) -> Named<'_> {
        Vec::new()
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        let any = |of: fn(&DeltaProperties) -> bool| self.deltas().any(|delta| of(&delta.properties()));
        DeltaProperties { makes_bias: any(|n| n.makes_bias), gated: any(|n| n.gated), ..DeltaProperties::PLAIN }
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, layer: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        let base = layer.base;
        let Some(rows) = &context.row_adapters else {
            let change =
                |part: &Part| (part.output(x.clone(), y.clone(), base, context) - y.clone()).mul_scalar(part.weight);
            return self.parts.iter().fold(y.clone(), |sum, part| sum + change(part));
        };
        let mut pieces = Vec::new();
        let mut start = 0;
        for run in rows.chunk_by(|a, b| a == b) {
            let of = |t: &Tensor<3>| t.clone().narrow(0, start, run.len());
            let piece = match self.parts.iter().find(|part| part.adapter == run[0]) {
                None => of(&y),
                Some(part) => part.output(of(&x), of(&y), base, context),
            };
            pieces.push(piece);
            start += run.len();
        }
        Tensor::cat(pieces, 0)
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        let plain = |part: &Part| {
            let context = ForwardContext { shared: part.shared.clone(), ..context.clone() };
            part.deltas.iter().fold((weight.clone(), bias.clone()), |(w, b), delta| delta.merge(w, b, &context))
        };
        let (mut sum, mut shift) = (weight.clone(), bias.clone());
        for part in &self.parts {
            let (merged, merged_bias) = plain(part);
            sum = sum + (merged - weight.clone()).mul_scalar(part.weight);
            if let Some(merged) = merged_bias {
                let before = bias.clone().unwrap_or_else(|| Tensor::zeros(merged.shape(), &merged.device()));
                let change = (merged - before.clone()).mul_scalar(part.weight);
                shift = Some(shift.unwrap_or(before) + change);
            }
        }
        (sum, shift)
    }
    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}
}
