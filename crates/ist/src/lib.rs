#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! It is a [`Hook`](stratune_train::Hook): the training loop does not know it.
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
