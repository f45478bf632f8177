//! Parts that the families share.

mod attention;
mod cache;
mod mlp;
mod norm;
mod positions;
mod rope;

pub use attention::{Attention, QkNorm};
pub use cache::KvCache;
pub use mlp::Mlp;
pub use norm::RmsNorm;
pub use positions::{Positions, Standing, Texts};
pub use rope::{Rope, RopeScaling, Yarn};
