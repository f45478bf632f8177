//! Adapters: a small network beside or after a part of a block.
//!
//! `a(h) = s · (U relu(D h + b_D) + b_U)`, D Kaiming-uniform, the rest zero, so that a new one changes nothing.
//!
//! | method | where |
//! |---|---|
//! | Houlsby (2019, arXiv 1902.00751) | after the attention, `h + a(h)`, and after the feed-forward |
//! | Pfeiffer (2021, arXiv 2005.00247) | after the feed-forward |
//! | parallel (He et al. 2022, arXiv 2110.04366, §3.3) | beside the feed-forward: its input goes in, its output gets `a` |
//!
//! Norms and head stay frozen here: list `layer_norm` beside it to train the norms too.

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use stratune_kernels::linear;
use stratune_protocol::draws;

use crate::site::{kaiming, uniform};
use crate::{Param, Parameters, Pass, PeftError, Visitor};

/// Where in its block a bottleneck is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// After the attention.
    AfterAttention,
    /// After the feed-forward.
    AfterMlp,
    /// Beside the feed-forward.
    BesideMlp,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::AfterAttention => "after_attention",
            Self::AfterMlp => "after_mlp",
            Self::BesideMlp => "beside_mlp",
        }
    }
}

/// A small network in a block.
#[derive(Clone, Debug)]
pub struct Bottleneck {
    /// Where.
    pub place: Place,
    /// D, `[width, hidden]`.
    pub down: Param<2>,
    /// `[width]`.
    pub down_bias: Param<1>,
    /// U, `[hidden, width]`.
    pub up: Param<2>,
    /// `[hidden]`.
    pub up_bias: Param<1>,
    /// s.
    pub scale: f32,
}

impl Bottleneck {
    /// A new one that changes nothing yet.
    ///
    /// # Errors
    /// The width is 0.
    pub fn new(
        place: Place,
        [hidden, width]: [usize; 2],
        scale: f32,
        (seed, block): (u64, usize),
        device: &Device,
    ) -> Result<Self, PeftError> {
        if width == 0 {
            return Err(PeftError::WidthZero);
        }
        let mut rng = draws(seed, place.name(), [block as u64, 0]);
        Ok(Self {
            place,
            down: Param::trainable(uniform(&mut rng, [width, hidden], kaiming(hidden), device)),
            down_bias: Param::trainable(Tensor::zeros([width], device)),
            up: Param::trainable(Tensor::zeros([hidden, width], device)),
            up_bias: Param::trainable(Tensor::zeros([hidden], device)),
            scale,
        })
    }

    /// What it adds.
    ///
    /// # Shapes
    /// - `h`, output: `[batch, seq, hidden]`
    pub fn forward(&self, h: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let narrow = relu(linear(h, self.down.value.clone()) + self.down_bias.value.clone().unsqueeze());
        let wide = linear(narrow, self.up.value.clone()) + self.up_bias.value.clone().unsqueeze();
        wide.mul_scalar(self.scale * pass.damping)
    }
}

impl Parameters for Bottleneck {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        let path = format!("{path}.adapters.{}", self.place.name());
        visitor.visit(&format!("{path}.down.weight"), &mut self.down);
        visitor.visit(&format!("{path}.down.bias"), &mut self.down_bias);
        visitor.visit(&format!("{path}.up.weight"), &mut self.up);
        visitor.visit(&format!("{path}.up.bias"), &mut self.up_bias);
    }
}
