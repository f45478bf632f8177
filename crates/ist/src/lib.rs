//! Importance-aware sparse tuning (Yao et al., EMNLP 2024 Findings, arXiv 2410.11772).
//!
//! At each step only a few blocks' updates train. Which ones is drawn with probabilities that a score per block decides;
//! every T steps the scores move, by damping some blocks' updates and seeing what that does to the loss. It is a
//! [`Hook`](stratune_train::Hook): the training loop does not know it, and any per-layer method runs under it.
//!
//! **Sign.** Here a high score means *important*: I = −s of the released code, whose `importance_score` is high for
//! blocks that can be damped without harm. Blocks train with weight σ(I) and are damped with weight σ(−I).

mod depth;
mod hook;
mod lisa;
mod sample;
mod score;

pub use depth::DepthBudget;
pub use hook::Ist;
pub use lisa::Lisa;
pub use sample::{Floor, draw};
pub use score::{Reward, Scores};
