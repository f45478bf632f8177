//! LoKr and KronA: the update is a Kronecker product (Edalati et al. 2022, arXiv 2212.10650; Yeh et al. 2023, arXiv
//! 2309.14859).
//!
//! `ΔW = α/r · W₁ ⊗ W₂`, with `W₂ = W₂ₐ W₂ᵦ` of rank r where that is smaller. W₁ starts at zero, the others
//! Kaiming-uniform. The product is never formed: `x` seen as `[i₁, i₂]` goes through W₂ on one side and W₁ on the other.

use burn::tensor::Tensor;
use stratune_kernels::linear;
use stratune_protocol::{KroneckerShape, MethodConfig};

use crate::delta::{Left, Nature, stays};
use crate::found::Found;
use crate::site::{kaiming, uniform};
use crate::{Delta, Named, Param, Pass, PeftError, Site};

/// The factors of an update.
#[derive(Clone, Debug)]
pub struct Kronecker {
    /// W₁, `[o₁, i₁]`.
    pub first: Param<2>,
    /// W₂.
    pub second: Second,
    /// What the product is multiplied by: α/r, also where W₂ is whole.
    pub scale: f32,
}

/// The second factor.
#[derive(Clone, Debug)]
// A model holds few of them: a pointer would buy nothing.
#[allow(clippy::large_enum_variant)]
pub enum Second {
    /// `[o₂, i₂]`.
    Whole(Param<2>),
    /// `[o₂, r]` and `[r, i₂]`.
    Product(Param<2>, Param<2>),
}

impl Second {
    fn value(&self) -> Tensor<2> {
        match self {
            Self::Whole(whole) => whole.value.clone(),
            Self::Product(a, b) => a.value.clone().matmul(b.value.clone()),
        }
    }
}

impl Kronecker {
    /// A new update that changes nothing yet.
    ///
    /// # Errors
    /// The rank is 0.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let (rank, alpha) = config.at(&site.id.path);
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let shape = KroneckerShape::of(site.shape(), rank);
        let (device, [o2, i2]) = (site.device(), shape.second);
        let mut rng = site.draws("lokr_w2");
        let mut draw = |shape: [usize; 2]| Param::trainable(uniform(&mut rng, shape, kaiming(shape[1]), &device));
        let second = match shape.rank {
            None => Second::Whole(draw([o2, i2])),
            Some(rank) => Second::Product(draw([o2, rank]), draw([rank, i2])),
        };
        let first = Param::trainable(Tensor::zeros(shape.first, &device));
        Ok(Self { first, second, scale: alpha / rank as f32 })
    }

    /// The addition to the layer's output.
    fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let ([o1, i1], second) = (self.first.value.dims(), self.second.value());
        let [o2, i2] = second.dims();
        // [tokens, i₁, i₂] → [tokens, i₁, o₂] → [tokens, o₂, i₁] → [tokens, o₂, o₁] → [tokens, o₁, o₂]
        let right = linear(x.reshape([batch * seq, i1, i2]), second).swap_dims(1, 2);
        let both = linear(right, self.first.value.clone()).swap_dims(1, 2);
        both.reshape([batch, seq, o1 * o2]).mul_scalar(self.scale * pass.damping)
    }

    /// The dense update, `[out, in]`.
    fn update(&self) -> Tensor<2> {
        let (first, second) = (self.first.value.clone(), self.second.value());
        let ([o1, i1], [o2, i2]) = (first.dims(), second.dims());
        let product = first.reshape([o1, 1, i1, 1]) * second.reshape([1, o2, 1, i2]);
        product.reshape([o1 * o2, i1 * i2]).mul_scalar(self.scale)
    }
}

impl Delta for Kronecker {
    fn parameters(&mut self) -> Named<'_> {
        let mut all: Named<'_> = vec![("lokr_w1", (&mut self.first).into())];
        match &mut self.second {
            Second::Whole(whole) => all.push(("lokr_w2", whole.into())),
            Second::Product(a, b) => all.extend([("lokr_w2_a", a.into()), ("lokr_w2_b", b.into())]),
        }
        all
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn nature(&self) -> Nature {
        Nature::PLAIN
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &Found<'_>, pass: &Pass) -> Tensor<3> {
        y + self.forward(x, pass)
    }

    fn merge(&self, weight: Tensor<2>, bias: Option<Tensor<1>>, pass: &Pass) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight + pass.damped(self.update()), bias)
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn left(&self) -> Left<'_> {
        stays()
    }

    fn for_base_as_read(&mut self) {}
}
