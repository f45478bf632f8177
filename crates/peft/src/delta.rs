//! What a method adds to a linear layer: one case a method, so that the compiler names each place a new one concerns.

use burn::tensor::Tensor;
use stratune_protocol::{MethodConfig, MethodKind};

use crate::{
    Bias, Dora, Hiwi, Ia3, Intrinsic, Kronecker, Lora, Param, Parameters, Pass, PeftError, Shared, Site, Sparse, Ssf,
    Vera, Visitor,
};

/// What a method adds to a linear layer.
#[derive(Clone, Debug)]
// A model holds few of them, and each is used at every step: a pointer would buy nothing.
#[allow(clippy::large_enum_variant)]
pub enum Delta {
    /// A low-rank update: LoRA, rsLoRA, LoRA+, LoRA-FA, PiSSA.
    Lora(Lora),
    /// A low-rank update of the direction, and the rows' lengths.
    Dora(Dora),
    /// Two vectors on shared random matrices.
    Vera(Vera),
    /// A Kronecker product.
    Kronecker(Kronecker),
    /// A share of the few numbers that steer all weights.
    Intrinsic(Intrinsic),
    /// A vector that scales input or output.
    Ia3(Ia3),
    /// Two vectors that scale and shift the output.
    Ssf(Ssf),
    /// A bias.
    Bias(Bias),
    /// A network that makes a bias.
    Hiwi(Hiwi),
    /// Some of the layer's own weights.
    Sparse(Sparse),
}

impl Delta {
    /// What `config` adds at `site`, drawn from the site's seed; nothing if the method enters elsewhere. `dimension` is
    /// the length of the vector that DID and SAID share.
    ///
    /// # Errors
    /// The method does not fit the layer.
    pub async fn new(config: &MethodConfig, site: &Site, dimension: usize) -> Result<Option<Self>, PeftError> {
        Ok(Some(match config.kind {
            MethodKind::Lora
            | MethodKind::Rslora
            | MethodKind::LoraPlus
            | MethodKind::LoraFa
            | MethodKind::Pissa
            | MethodKind::Dylora => Self::Lora(Lora::new(config, site).await?),
            MethodKind::Dora => Self::Dora(Dora::new(config, site).await?),
            MethodKind::Vera => Self::Vera(Vera::new(config, site)?),
            MethodKind::Lokr => Self::Kronecker(Kronecker::new(config, site)?),
            MethodKind::Did | MethodKind::Said => Self::Intrinsic(Intrinsic::new(config, site, dimension)?),
            MethodKind::Ia3 => Self::Ia3(Ia3::new(site)),
            MethodKind::Ssf => Self::Ssf(Ssf::new(site)),
            MethodKind::Bitfit => Self::Bias(Bias::new(site)),
            MethodKind::Hiwi => Self::Hiwi(Hiwi::new(config, site)?),
            MethodKind::Pafi => Self::Sparse(Sparse::smallest(config, site).await?),
            MethodKind::Houlsby
            | MethodKind::Pfeiffer
            | MethodKind::Parallel
            | MethodKind::Prefix
            | MethodKind::Prompt
            | MethodKind::LayerNorm
            | MethodKind::Full => return Ok(None),
        }))
    }

    /// The layer's input, as the method changes it.
    pub(crate) fn input(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        match self {
            Self::Ia3(ia3) if ia3.on_input => x * ia3.factor(pass),
            _ => x,
        }
    }

    /// The layer's output, as the method changes it, from `y = x Wᵀ` and what the methods before made of it.
    pub(crate) fn output(&self, x: Tensor<3>, y: Tensor<3>, weight: &Tensor<2>, pass: &Pass) -> Tensor<3> {
        match self {
            Self::Lora(lora) => y + lora.forward(x, pass),
            Self::Dora(dora) => dora.forward(x, y, weight, pass),
            Self::Vera(vera) => vera.forward(x, y, pass),
            Self::Kronecker(product) => y + product.forward(x, pass),
            Self::Intrinsic(intrinsic) => y + intrinsic.forward(x, pass),
            Self::Ia3(ia3) if ia3.on_input => y,
            Self::Ia3(ia3) => y * ia3.factor(pass),
            Self::Ssf(ssf) => ssf.forward(y, pass),
            Self::Bias(bias) => bias.forward(y, pass),
            Self::Hiwi(hiwi) => hiwi.forward(y, pass),
            Self::Sparse(sparse) => y + sparse.forward(x, pass),
        }
    }

    /// Keeps what is needed to compute the same and throws away what only training needs.
    pub fn settle(&mut self) {
        match self {
            Self::Lora(lora) => lora.settle(),
            Self::Hiwi(hiwi) => *self = Self::Bias(Bias { value: Param::trainable(hiwi.bias()) }),
            Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Sparse(_) => {}
        }
    }

    /// Moves it into a weight and a bias that compute the same.
    pub(crate) fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        shared: &Shared,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        let plus = |bias: Option<Tensor<1>>, more: Tensor<1>| Some(bias.map_or(more.clone(), |b| b + more));
        match self {
            Self::Lora(lora) => (weight + lora.update(), bias),
            Self::Dora(dora) => (dora.merged(weight), bias),
            Self::Vera(vera) => (vera.merged(weight, shared), bias),
            Self::Kronecker(product) => (weight + product.update(), bias),
            Self::Intrinsic(intrinsic) => (weight + intrinsic.update(shared), bias),
            Self::Ia3(ia3) => {
                let bias = bias.map(|b| if ia3.on_input { b } else { b * ia3.scale.value.clone() });
                (ia3.merged(weight), bias)
            }
            Self::Ssf(Ssf { scale, shift }) => {
                let (scale, shift) = (scale.value.clone(), shift.value.clone());
                let bias = plus(bias.map(|b| b * scale.clone()), shift);
                (weight * scale.unsqueeze_dim(1), bias)
            }
            Self::Bias(more) => (weight, plus(bias, more.value.value.clone())),
            Self::Hiwi(hiwi) => (weight, plus(bias, hiwi.bias())),
            Self::Sparse(sparse) => (weight + sparse.update(), bias),
        }
    }
}

impl Parameters for Delta {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        match self {
            Self::Lora(lora) => lora.each(path, visitor),
            Self::Dora(dora) => dora.each(path, visitor),
            Self::Vera(vera) => vera.each(path, visitor),
            Self::Kronecker(product) => product.each(path, visitor),
            Self::Intrinsic(intrinsic) => intrinsic.each(path, visitor),
            Self::Ia3(ia3) => ia3.each(path, visitor),
            Self::Ssf(ssf) => ssf.each(path, visitor),
            Self::Bias(bias) => bias.each(path, visitor),
            Self::Hiwi(hiwi) => hiwi.each(path, visitor),
            Self::Sparse(sparse) => sparse.each(path, visitor),
        }
    }
}
