//! Parts that the families share.

mod attention;
mod cache;
mod classifier;
mod cross_attention;
mod mlp;
mod norm;
mod positions;
mod relative_bias;
mod rope;

use burn::tensor::Tensor;

pub use attention::{Attention, FusedRows, Projections, QkNorm};
pub use cache::KvCache;
pub use classifier::{Classifier, ClassifierActivation};
pub use cross_attention::{CrossAttention, Encoded};
pub use mlp::Mlp;
pub use norm::Norm;
pub use positions::{AttentionKind, BlockPositions, Mask, PackedTexts, Positions, Rotaries};
pub use relative_bias::RelativeBias;
pub use rope::{LongRope, Rope, RopeScaling, Yarn};

/// `factor x`: no work where the factor is one, as it is in most families.
pub fn scaled<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    if factor == 1.0 { x } else { x.mul_scalar(factor) }
}
