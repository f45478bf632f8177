//! What a method adds to a linear layer: one case a method, so that the compiler names each place a new one concerns.

use burn::tensor::Tensor;
use stratune_kernels::{Factors, linear};
use stratune_protocol::{MethodConfig, MethodKind, Problem};
use stratune_runtime::read_f32;

use crate::sparse::check_share;
use crate::{
    Adalora, Additions, Bias, Diff, Dora, Hiwi, Ia3, Intrinsic, Kronecker, Lora, Mixture, ModuleId, Param, Pass,
    PeftError, Shared, Site, Sparse, Ssf, Vera, Visitor, Weight,
};

/// What a method adds to a linear layer.
#[derive(Clone, Debug)]
// A model holds few of them, and each is used at every step: a pointer would buy nothing.
#[allow(clippy::large_enum_variant)]
pub enum Delta {
    /// A low-rank update: LoRA and what differs from it in a line.
    Lora(Lora),
    /// A low-rank update whose directions have a gain each.
    Adalora(Adalora),
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
    /// A difference for each weight, and a switch.
    Diff(Diff),
    /// Several adapters.
    Mixture(Mixture),
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
            | MethodKind::Qlora
            | MethodKind::Loftq
            | MethodKind::Dylora => Self::Lora(Lora::new(config, site).await?),
            MethodKind::Adalora => Self::Adalora(Adalora::new(config, site)?),
            MethodKind::Dora => Self::Dora(Dora::new(config, site).await?),
            MethodKind::Vera => Self::Vera(Vera::new(config, site)?),
            MethodKind::Lokr => Self::Kronecker(Kronecker::new(config, site)?),
            MethodKind::Did | MethodKind::Said => Self::Intrinsic(Intrinsic::new(config, site, dimension)?),
            MethodKind::Ia3 => Self::Ia3(Ia3::new(site)),
            MethodKind::Ssf => Self::Ssf(Ssf::new(site)),
            MethodKind::Bitfit => Self::Bias(Bias::new(site)),
            MethodKind::Hiwi => Self::Hiwi(Hiwi::new(config, site)?),
            MethodKind::Pafi | MethodKind::RandomMask | MethodKind::Fish | MethodKind::LtSft => {
                Self::Sparse(Sparse::new(config, site).await?)
            }
            MethodKind::DiffPruning => {
                check_share(config.share.unwrap_or(0.0), site.shape())?;
                Self::Diff(Diff::new(config, site))
            }
            MethodKind::Houlsby
            | MethodKind::Pfeiffer
            | MethodKind::Parallel
            | MethodKind::Compacter
            | MethodKind::SparseAdapter
            | MethodKind::Prefix
            | MethodKind::Prompt
            | MethodKind::Ladder
            | MethodKind::LayerNorm
            | MethodKind::ChildTuning
            | MethodKind::Lisa
            | MethodKind::Galore
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

    /// The two matrices, if what it adds is their product and nothing else.
    pub(crate) fn factors(&self, pass: &Pass) -> Option<Factors> {
        match self {
            Self::Lora(lora) => lora.factors(pass),
            Self::Adalora(adalora) => adalora.factors(pass),
            Self::Vera(vera) => vera.factors(pass),
            _ => None,
        }
    }

    /// `[out]`, if what it adds is that for every position and nothing else.
    pub(crate) fn bias(&self, pass: &Pass) -> Option<Tensor<1>> {
        match self {
            Self::Bias(bias) => Some(bias.at(pass)),
            Self::Hiwi(hiwi) => Some(hiwi.at(pass)),
            _ => None,
        }
    }

    /// The dense matrix that is added to the layer's at this pass, `[out, in]`, if that is what it does.
    pub(crate) fn dense(&self, pass: &Pass) -> Option<Tensor<2>> {
        let update = match self {
            Self::Intrinsic(intrinsic) => intrinsic.update(&pass.shared),
            Self::Sparse(sparse) => sparse.update(),
            Self::Diff(diff) => diff.at(pass),
            _ => return None,
        };
        Some(if pass.damping == 1.0 { update } else { update.mul_scalar(pass.damping) })
    }

    /// Whether it has a [`dense`](Self::dense) one.
    pub(crate) fn is_dense(&self) -> bool {
        matches!(self, Self::Intrinsic(_) | Self::Sparse(_) | Self::Diff(_))
    }

    /// Whether [`input`](Self::input) does something.
    pub(crate) fn changes_input(&self) -> bool {
        matches!(self, Self::Ia3(ia3) if ia3.on_input)
    }

    /// The layer's output, as the method changes it, from `y = x Wᵀ` and what the methods before made of it.
    pub(crate) fn output(&self, x: Tensor<3>, y: Tensor<3>, weight: &Weight, pass: &Pass) -> Tensor<3> {
        match self {
            Self::Lora(lora) => y + lora.forward(x, pass),
            Self::Adalora(adalora) => y + adalora.forward(x, pass),
            Self::Dora(dora) => dora.forward(x, y, weight, pass),
            Self::Vera(vera) => vera.forward(x, y, pass),
            Self::Kronecker(product) => y + product.forward(x, pass),
            Self::Ia3(ia3) if ia3.on_input => y,
            Self::Ia3(ia3) => y * ia3.factor(pass),
            Self::Ssf(ssf) => ssf.forward(y, pass),
            Self::Bias(bias) => y + bias.at(pass).unsqueeze(),
            Self::Hiwi(hiwi) => y + hiwi.at(pass).unsqueeze(),
            // Beside a matrix that is packed, or after another addition.
            Self::Intrinsic(_) | Self::Sparse(_) | Self::Diff(_) => match self.dense(pass) {
                Some(update) => y + linear(x, update),
                None => y,
            },
            Self::Mixture(mixture) => mixture.forward(x, y, weight, pass),
        }
    }

    /// What the method's penalty in the loss adds to the gradients, by the end of the parameter's path. `weight` is one
    /// over the layers that have such a penalty.
    pub fn penalty_gradients(&self, weight: f32) -> Vec<(&'static str, Tensor<2>)> {
        match self {
            Self::Adalora(adalora) => adalora.penalty_gradients(weight).into(),
            Self::Diff(diff) => vec![("diff_switch", diff.penalty_gradient())],
            _ => Vec::new(),
        }
    }

    /// Keeps what is needed to compute the same and throws away what only training needs.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn settle(&mut self) -> Result<(), Problem> {
        match self {
            Self::Diff(diff) => {
                let (update, share) = (diff.update(), diff.share);
                let (shape, device) = (update.dims(), update.device());
                *self = Self::Sparse(Sparse::largest_of(&read_f32(update).await?, share, shape, &device));
            }
            Self::Lora(lora) => lora.settle(),
            Self::Hiwi(hiwi) => *self = Self::Bias(Bias { value: Param::trainable(hiwi.bias()) }),
            Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Adalora(_)
            | Self::Mixture(_)
            | Self::Sparse(_) => {}
        }
        Ok(())
    }

    /// Whether what it adds depends on the text through a gate, so that no weight computes the same.
    pub fn is_gated(&self) -> bool {
        match self {
            Self::Lora(lora) => lora.gate.is_some(),
            Self::Mixture(mixture) => mixture.parts.iter().flat_map(|part| &part.deltas).any(Self::is_gated),
            _ => false,
        }
    }

    /// Whether the layer has a bias once it is merged, if it had none.
    pub fn makes_bias(&self) -> bool {
        match self {
            Self::Bias(_) | Self::Hiwi(_) | Self::Ssf(_) => true,
            Self::Mixture(mixture) => mixture.parts.iter().flat_map(|part| &part.deltas).any(Self::makes_bias),
            Self::Lora(_)
            | Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Sparse(_)
            | Self::Diff(_) => false,
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
            Self::Adalora(adalora) => (weight + adalora.update(), bias),
            Self::Dora(dora) => (dora.merged(weight), bias),
            Self::Vera(vera) => (vera.merged(weight, shared), bias),
            Self::Kronecker(product) => (weight + product.update(), bias),
            Self::Intrinsic(intrinsic) => (weight + intrinsic.update(shared), bias),
            Self::Ia3(ia3) => {
                let bias = bias.map(|b| if ia3.on_input { b } else { b * ia3.scale.value.clone().squeeze_dim(1) });
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
            Self::Diff(diff) => (weight + diff.update(), bias),
            Self::Mixture(mixture) => mixture.merge(weight, bias),
        }
    }
}

impl Additions for Delta {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        match self {
            Self::Lora(lora) => lora.each(of, visitor),
            Self::Dora(dora) => dora.each(of, visitor),
            Self::Vera(vera) => vera.each(of, visitor),
            Self::Kronecker(product) => product.each(of, visitor),
            Self::Intrinsic(intrinsic) => intrinsic.each(of, visitor),
            Self::Ia3(ia3) => ia3.each(of, visitor),
            Self::Ssf(ssf) => ssf.each(of, visitor),
            Self::Bias(bias) => bias.each(of, visitor),
            Self::Hiwi(hiwi) => hiwi.each(of, visitor),
            Self::Sparse(sparse) => sparse.each(of, visitor),
            Self::Adalora(adalora) => adalora.each(of, visitor),
            Self::Diff(diff) => diff.each(of, visitor),
            // Adapters at work, not in training: their parameters would have one path.
            Self::Mixture(_) => {}
        }
    }
}
