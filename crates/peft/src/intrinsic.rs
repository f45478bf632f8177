//! Intrinsic dimension: a few numbers steer all weights (Aghajanyan et al. 2021, arXiv 2012.13255, eqs. 1 and 2).
//!
//! DID: `W' = W + P v`. SAID: `W' = W + λ · P v` with one trainable λ a matrix, taken out of the dimension. v is shared
//! by all matrices and starts at zero, λ at one; each matrix has a projection of its own, drawn from the seed.

use burn::tensor::Tensor;
use stratune_kernels::linear;
use stratune_protocol::ModelReport;

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Effect, Finalized, stays};
use crate::method::Entered;
use crate::{Delta, ForwardContext, MethodConfig, Named, Param, PeftError, Projector, Shared, Site};

/// Numbers that train.
pub(crate) fn numbers(method: &MethodConfig, _: &ModelReport) -> u64 {
    method.dimension.unwrap_or(0) as u64
}

/// Makes v, of this length.
pub(crate) fn share(dimension: usize, entered: &Entered<'_>, shared: &mut Shared) {
    shared.vector = Some(Param::trainable(Tensor::zeros([dimension], entered.device)));
}

/// One matrix's share of v.
#[derive(Clone, Debug)]
pub struct Intrinsic {
    /// λ, `[1]`; none for DID.
    pub lambda: Option<Param<1>>,
    projector: Projector,
    shape: [usize; 2],
}

impl Intrinsic {
    /// A new one; `dimension` is the length of v.
    ///
    /// # Errors
    /// The dimension does not fit the projection.
    pub fn new(
        config: &MethodConfig,
        site: &Site,
        dimension: usize,
        lambda: Option<Param<1>>,
    ) -> Result<Self, PeftError> {
        let (shape, device) = (site.shape(), site.device());
        let kind = config.projection.unwrap_or_default();
        let projector = Projector::new(kind, shape[0] * shape[1], dimension, &mut site.draws("projection"), &device)?;
        Ok(Self { lambda, projector, shape })
    }

    /// The dense update, `[out, in]`.
    fn update(&self, shared: &Shared) -> Tensor<2> {
        let Some(vector) = &shared.vector else {
            // Only a model taken apart by hand lacks the vector; without it there is no update.
            return Tensor::zeros(self.shape, &self.projector.device());
        };
        let spread = self.projector.apply(vector.value.clone());
        let spread = match &self.lambda {
            None => spread,
            Some(lambda) => spread * lambda.value.clone(),
        };
        spread.reshape(self.shape)
    }
}

impl Delta for Intrinsic {
    fn parameters(&mut self) -> Named<'_> {
        self.lambda.iter_mut().map(|lambda| ("said_lambda", lambda.into())).collect()
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties { effect: Effect::AddsMatrix, steered: true, ..DeltaProperties::PLAIN }
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        y + linear(x, context.damped(self.update(&context.shared)))
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight + context.damped(self.update(&context.shared)), bias)
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}

    fn dense(&self, context: &ForwardContext) -> Option<Tensor<2>> {
        Some(context.damped(self.update(&context.shared)))
    }
}
