//! Parts that the families share.

mod attention;
mod cache;
mod mlp;
mod norm;

pub use attention::Attention;
pub use cache::KvCache;
pub use mlp::Mlp;
pub use norm::RmsNorm;
