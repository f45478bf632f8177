//! What the methods of all blocks read: trained once, for the whole model.

use burn::tensor::Tensor;

use crate::{ModuleId, Param, Parameters, Visitor};

/// What the methods of all blocks read.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The few numbers that steer all weights (DID, SAID): `[dimension]`.
    pub vector: Option<Param<1>>,
    /// What prefixes are made from while they train.
    pub prefix: Option<PrefixEncoder>,
    /// VeRA's random matrices, which never train.
    pub vera: Option<VeraMatrices>,
    /// The factors that all of Compacter's matrices share, `[n, n, n]`.
    pub compacter: Option<Param<3>>,
}

/// VeRA's matrices, as large as the largest layer needs.
#[derive(Clone, Debug)]
pub struct VeraMatrices {
    /// A, `[rank, most inputs]`.
    pub a: Param<2>,
    /// B, `[most outputs, rank]`.
    pub b: Param<2>,
}

/// The part of a prefix's network that the layers share: `tanh(E Dᵀ + b)`.
#[derive(Clone, Debug)]
pub struct PrefixEncoder {
    /// E, `[length, hidden]`.
    pub embedding: Param<2>,
    /// D, `[width, hidden]`.
    pub down: Param<2>,
    /// b, `[width]`.
    pub bias: Param<1>,
}

impl PrefixEncoder {
    /// `[length, width]`.
    pub fn encode(&self) -> Tensor<2> {
        let narrow = self.embedding.value.clone().matmul(self.down.value.clone().transpose());
        (narrow + self.bias.value.clone().unsqueeze()).tanh()
    }
}

impl Parameters for Shared {
    fn each(&mut self, visitor: &mut impl Visitor) {
        let of = ModuleId::new(None, "shared");
        if let Some(vector) = &mut self.vector {
            visitor.visit(&of.param("vector"), vector);
        }
        if let Some(PrefixEncoder { embedding, down, bias }) = &mut self.prefix {
            visitor.visit(&of.param("prefix.embedding"), embedding);
            visitor.visit(&of.param("prefix.down.weight"), down);
            visitor.visit(&of.param("prefix.down.bias"), bias);
        }
        if let Some(rules) = &mut self.compacter {
            visitor.visit(&of.param("compacter"), rules);
        }
        if let Some(VeraMatrices { a, b }) = &mut self.vera {
            visitor.visit(&of.param("vera_A"), a);
            visitor.visit(&of.param("vera_B"), b);
        }
    }
}
