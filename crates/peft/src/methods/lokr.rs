//! LoKr and KronA: the update is a Kronecker product (Edalati et al. 2022, arXiv 2212.10650; Yeh et al. 2023, arXiv
//! 2309.14859).
//!
//! `ΔW = α/r · W₁ ⊗ W₂`, with `W₂ = W₂ₐ W₂ᵦ` of rank r where that is smaller. W₁ starts at zero, the others
//! Kaiming-uniform. The product is never formed: `x` seen as `[i₁, i₂]` goes through W₂ on one side and W₁ on the other.

use burn::tensor::Tensor;
use stratune_kernels::linear;
use stratune_protocol::ModelReport;

use crate::delta::{Left, Nature, stays};
use crate::found::Found;
use crate::method::{
    Built, Enters, Family, FromData, Keeps, Merges, Method, as_it_is, as_usual, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{ALPHA, RANK, TARGETS};
use crate::site::{kaiming, uniform};
use crate::size::at_sites;
use crate::{Delta, MethodConfig, MethodKind, Named, Param, Pass, PeftError, Site};

/// LoKr / KronA.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Lokr,
    name: "lokr",
    title: "LoKr / KronA",
    sentence: "The update is a Kronecker product of two small matrices: high rank from few numbers.",
    trains: "both factors",
    family: Family::Reparameterised,
    settings: &[TARGETS, RANK, ALPHA.number(8.0)],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    usual_rate: 3.0,
    keeps: Keeps::INPUTS,
    trainable,
    moving: block_by_block,
    of_its_paper: as_usual,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_base_as_read: as_it_is,
    peft: Some("LOKR"),
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move { Ok(Box::new(Kronecker::new(config, site)?) as _) })
}

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, shape| KroneckerShape::of(shape, method.rank.unwrap_or(0)).numbers())
}

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

/// How a matrix is written as a Kronecker product: `[o₁, i₁] ⊗ [o₂, i₂]`, the second factor as a product of rank r if
/// that is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KroneckerShape {
    /// Of the first factor, the smaller one.
    pub first: [usize; 2],
    /// Of the second.
    pub second: [usize; 2],
    /// Rank of the second, if it is written as a product.
    pub rank: Option<usize>,
}

impl KroneckerShape {
    /// For an `[out, in]` matrix. Each side is split as evenly as its divisors allow; the second factor is a product if
    /// the rank is below half its larger side, as in LyCORIS and PEFT.
    pub fn of([out, inputs]: [usize; 2], rank: usize) -> Self {
        let split = |n: usize| {
            let small = (1..).take_while(|s| s * s <= n).filter(|s| n.is_multiple_of(*s)).last().unwrap_or(1);
            (small, n / small)
        };
        let ((o1, o2), (i1, i2)) = (split(out), split(inputs));
        let rank = (2 * rank < o2.max(i2)).then_some(rank);
        Self { first: [o1, i1], second: [o2, i2], rank }
    }

    /// Numbers in the factors.
    pub fn numbers(self) -> usize {
        let Self { first: [o1, i1], second: [o2, i2], rank } = self;
        o1 * i1 + rank.map_or(o2 * i2, |r| r * (o2 + i2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kronecker_factors_multiply_to_the_matrix() {
        for (shape, rank, want) in [
            ([160, 416], 4, KroneckerShape { first: [10, 16], second: [16, 26], rank: Some(4) }),
            ([32, 160], 8, KroneckerShape { first: [4, 10], second: [8, 16], rank: None }),
            ([7, 1], 1, KroneckerShape { first: [1, 1], second: [7, 1], rank: Some(1) }),
        ] {
            let got = KroneckerShape::of(shape, rank);
            assert_eq!(got, want);
            assert_eq!([got.first[0] * got.second[0], got.first[1] * got.second[1]], shape);
        }
    }
}
