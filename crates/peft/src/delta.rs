//! What a method adds to a linear layer: one case a method, so that the compiler names each place a new one concerns.

use std::collections::BTreeSet;

use burn::tensor::Tensor;
use stratune_kernels::{Factors, linear};
use stratune_protocol::{MethodConfig, MethodKind, Problem};

use crate::found::Found;
use crate::sparse::check_share;
use crate::{
    Adalora, Additions, Bias, Diff, Dora, Hiwi, Ia3, Intrinsic, Kronecker, Lora, Mixture, ModuleId, Param, Pass,
    PeftError, Site, Sparse, Ssf, Vera, Visitor, names,
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

/// How a method enters a linear layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It scales the layer's input.
    ScalesInput,
    /// It adds a matrix as large as the layer's.
    AddsMatrix,
    /// It does something to the output.
    Otherwise,
}

impl Delta {
    /// What `config` adds at `site`, drawn from the site's seed; nothing if the method enters elsewhere. `dimension` is
    /// the length of the vector that DID and SAID share.
    ///
    /// # Errors
    /// The method does not fit the layer.
    pub async fn new(config: &MethodConfig, site: &Site, dimension: usize) -> Result<Option<Self>, PeftError> {
        Ok(Some(match config.kind {
            MethodKind::Lora | MethodKind::LoraPlus | MethodKind::Qlora => Self::Lora(Lora::new(config, site)?),
            MethodKind::Rslora => Self::Lora(Lora::new(config, site)?.scaled_by_the_root(config, site)),
            MethodKind::LoraFa => Self::Lora(Lora::new(config, site)?.with_a_as_drawn()),
            MethodKind::Dylora => Self::Lora(Lora::new(config, site)?.at_every_rank(config, site)),
            MethodKind::Pissa => Self::Lora(Lora::new(config, site)?.at_the_largest_directions(site).await?),
            MethodKind::Loftq => {
                let bits = config.bits.unwrap_or(4);
                Self::Lora(Lora::new(config, site)?.at_what_few_bits_lose(site, bits).await?)
            }
            MethodKind::Adalora => Self::Adalora(Adalora::new(config, site)?),
            MethodKind::Dora => Self::Dora(Dora::new(config, site)?),
            MethodKind::Vera => Self::Vera(Vera::new(config, site)?),
            MethodKind::Lokr => Self::Kronecker(Kronecker::new(config, site)?),
            MethodKind::Did | MethodKind::Said => Self::Intrinsic(Intrinsic::new(config, site, dimension)?),
            MethodKind::Ia3 => Self::Ia3(Ia3::new(site)),
            MethodKind::Ssf => Self::Ssf(Ssf::new(site)),
            MethodKind::Bitfit => Self::Bias(Bias::new(site)),
            MethodKind::Hiwi => Self::Hiwi(Hiwi::new(config, site).await?),
            MethodKind::Pafi => Self::Sparse(Sparse::new(config, site)?.at_the_smallest(site).await?),
            MethodKind::RandomMask => Self::Sparse(Sparse::new(config, site)?.at_random(site)),
            MethodKind::Shira => Self::Sparse(Sparse::of_rank(config, site)?),
            MethodKind::Fish | MethodKind::LtSft => Self::Sparse(Sparse::new(config, site)?),
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

    /// How it enters, as far as the layer has to know before.
    fn way(&self) -> Way {
        match self {
            Self::Ia3(ia3) if ia3.on_input => Way::ScalesInput,
            Self::Intrinsic(_) | Self::Sparse(_) | Self::Diff(_) => Way::AddsMatrix,
            Self::Ia3(_)
            | Self::Lora(_)
            | Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Hiwi(_)
            | Self::Mixture(_) => Way::Otherwise,
        }
    }

    /// Whether it does something to the layer's input.
    pub(crate) fn changes_input(&self) -> bool {
        self.way() == Way::ScalesInput
    }

    /// Whether it has a [`dense`](Self::dense) matrix.
    pub(crate) fn is_dense(&self) -> bool {
        self.way() == Way::AddsMatrix
    }

    /// The layer's input as the method changes it: for the base, and for what methods before this one have added.
    pub(crate) fn input(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        match self {
            Self::Ia3(ia3) if self.changes_input() => x * ia3.factor(pass),
            _ => x,
        }
    }

    /// The two matrices, if what it adds is their product and nothing else.
    pub(crate) fn factors(&self, pass: &Pass) -> Option<Factors> {
        match self {
            Self::Lora(lora) => lora.factors(pass),
            Self::Adalora(adalora) => adalora.factors(pass),
            Self::Vera(vera) => vera.factors(pass),
            Self::Dora(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Hiwi(_)
            | Self::Sparse(_)
            | Self::Diff(_)
            | Self::Mixture(_) => None,
        }
    }

    /// `[out]`, if what it adds is that for every position and nothing else.
    pub(crate) fn bias(&self, pass: &Pass) -> Option<Tensor<1>> {
        match self {
            Self::Bias(bias) => Some(pass.damped(bias.value.value.clone())),
            Self::Hiwi(hiwi) => Some(pass.damped(hiwi.bias())),
            Self::Lora(_)
            | Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Sparse(_)
            | Self::Diff(_)
            | Self::Mixture(_) => None,
        }
    }

    /// The dense matrix that is added to the layer's at this pass, `[out, in]`, if that is what it does.
    pub(crate) fn dense(&self, pass: &Pass) -> Option<Tensor<2>> {
        let update = match self {
            Self::Intrinsic(intrinsic) => intrinsic.update(&pass.shared),
            Self::Sparse(sparse) => sparse.update(),
            Self::Diff(diff) => diff.at(pass),
            Self::Lora(_)
            | Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Hiwi(_)
            | Self::Mixture(_) => return None,
        };
        Some(pass.damped(update))
    }

    /// The layer's output as the method makes it, from the output `y` that it finds; `x` is what it reads.
    pub(crate) fn output(&self, x: Tensor<3>, y: Tensor<3>, found: &Found<'_>, pass: &Pass) -> Tensor<3> {
        match self {
            Self::Lora(lora) => y + lora.forward(x, pass),
            Self::Adalora(adalora) => y + adalora.forward(x, pass),
            Self::Dora(dora) => dora.forward(x, y, found, pass),
            Self::Vera(vera) => vera.forward(x, y, pass),
            Self::Kronecker(product) => y + product.forward(x, pass),
            Self::Ia3(ia3) if ia3.on_input => y,
            Self::Ia3(ia3) => y * ia3.factor(pass),
            Self::Ssf(ssf) => ssf.forward(y, pass),
            Self::Bias(_) | Self::Hiwi(_) => match self.bias(pass) {
                Some(bias) => y + bias.unsqueeze(),
                None => y,
            },
            // Beside a matrix that is packed, or after another addition.
            Self::Intrinsic(_) | Self::Sparse(_) | Self::Diff(_) => match self.dense(pass) {
                Some(update) => y + linear(x, update),
                None => y,
            },
            Self::Mixture(mixture) => mixture.forward(x, y, found.base, pass),
        }
    }

    /// The layer's weight and bias as the method makes them at this pass, from those that it finds.
    pub(crate) fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        pass: &Pass,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        let plus = |bias: Option<Tensor<1>>, more: Tensor<1>| Some(bias.map_or(more.clone(), |b| b + more));
        match self {
            Self::Lora(lora) => (weight + pass.damped(lora.update()), bias),
            Self::Adalora(adalora) => (weight + pass.damped(adalora.update()), bias),
            Self::Dora(dora) => (dora.merged(weight, pass), bias),
            Self::Vera(vera) => match vera.update(&pass.shared) {
                Some(update) => (weight + pass.damped(update), bias),
                None => (weight, bias),
            },
            Self::Kronecker(product) => (weight + pass.damped(product.update()), bias),
            Self::Ia3(ia3) => {
                let factor: Tensor<1> = ia3.factor(pass).reshape([-1]);
                match ia3.on_input {
                    true => (weight * factor.unsqueeze_dim(0), bias),
                    false => (weight * factor.clone().unsqueeze_dim(1), bias.map(|b| b * factor)),
                }
            }
            Self::Ssf(ssf) => {
                let (scale, shift) = ssf.at(pass);
                (weight * scale.clone().unsqueeze_dim(1), plus(bias.map(|b| b * scale), shift))
            }
            Self::Bias(_) | Self::Hiwi(_) => match self.bias(pass) {
                Some(more) => (weight, plus(bias, more)),
                None => (weight, bias),
            },
            Self::Intrinsic(_) | Self::Sparse(_) | Self::Diff(_) => match self.dense(pass) {
                Some(update) => (weight + update, bias),
                None => (weight, bias),
            },
            Self::Mixture(mixture) => mixture.merge(weight, bias, pass),
        }
    }

    /// What the method's penalty in the loss adds to the gradients, by the end of the parameter's path. `share` is one over
    /// the layers that the method trains in, for a penalty that is their mean.
    pub fn penalty_gradients(&self, share: f32) -> Vec<(&'static str, Tensor<2>)> {
        match self {
            Self::Adalora(adalora) => adalora.penalty_gradients(share).into(),
            Self::Diff(diff) => vec![("diff_switch", diff.penalty_gradient())],
            Self::Lora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Hiwi(_)
            | Self::Sparse(_)
            | Self::Mixture(_) => Vec::new(),
        }
    }

    /// Keeps what is needed to compute the same on this base and throws away what only training needs.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn settle(&mut self) -> Result<(), Problem> {
        match self {
            Self::Diff(diff) => *self = Self::Sparse(diff.kept().await?),
            Self::Hiwi(hiwi) => *self = Self::Bias(Bias { value: Param::trainable(hiwi.bias()) }),
            Self::Lora(_)
            | Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Sparse(_)
            | Self::Mixture(_) => {}
        }
        Ok(())
    }

    /// Makes of it what any reader computes on the base as its file has it, whatever the run has kept the base as and
    /// wherever the method has started.
    pub fn for_base_as_read(&mut self) {
        match self {
            Self::Lora(lora) => lora.for_base_as_read(),
            Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Hiwi(_)
            | Self::Sparse(_)
            | Self::Diff(_)
            | Self::Mixture(_) => {}
        }
    }

    /// The names that its parameters have, and those of what [`settle`](Self::settle) leaves of it: no other method may
    /// have one of them at the same layer.
    pub fn names(&mut self) -> BTreeSet<String> {
        let mut all = names(self);
        match self {
            Self::Diff(diff) => all.extend(names(&mut diff.first_kept())),
            Self::Hiwi(hiwi) => all.extend(names(&mut Bias { value: Param::trainable(hiwi.input.clone()) })),
            Self::Lora(_)
            | Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Sparse(_)
            | Self::Mixture(_) => {}
        }
        all
    }

    /// Whether what it adds depends on the text through a gate, so that no weight computes the same.
    pub fn is_gated(&self) -> bool {
        match self {
            Self::Lora(lora) => lora.gate.is_some(),
            Self::Mixture(mixture) => mixture.parts.iter().flat_map(|part| &part.deltas).any(Self::is_gated),
            Self::Adalora(_)
            | Self::Dora(_)
            | Self::Vera(_)
            | Self::Kronecker(_)
            | Self::Intrinsic(_)
            | Self::Ia3(_)
            | Self::Ssf(_)
            | Self::Bias(_)
            | Self::Hiwi(_)
            | Self::Sparse(_)
            | Self::Diff(_) => false,
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
