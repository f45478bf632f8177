#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! It is a [`Hook`](stratune_train::Hook): the training loop does not know it.
//!
//! **Sign.** Here a high score means *important*: I = −s of the released code, whose `importance_score` is high for
//! blocks that can be damped without harm. Blocks train with weight σ(I) and are damped with weight σ(−I).
//!
//! **Convergence.** No block may be given up. Let the loss f be L-smooth, the gradient of a step unbiased with a variance of
//! at most σ² in all, and let its blocks be drawn by what happened before, each with a probability of `π_min` to `π_max`. For
//! plain gradient steps of a rate η ≤ 1/L, summing up `E f(θₜ₊₁) ≤ E f(θₜ) − η/2 π_min E‖∇f‖² + L η²/2 π_max σ²` over T steps
//! gives
//!
//! `min E‖∇f(θₜ)‖² ≤ 2 (f(θ₀) − f*) / (η π_min T) + L η σ² π_max / π_min`,
//!
//! which says something as long as `π_min` is not zero: so scores are bounded under `practical` and `cost_aware`, and floors
//! have a least probability. It does not cover AdamW's moments, and `faithful` has no bound.

mod depth;
mod hook;
mod inclusion;
mod lisa;
mod sample;
mod score;

pub use depth::DepthBudget;
pub use hook::Ist;
pub use inclusion::inclusion;
pub use lisa::Lisa;
pub use sample::{Floor, draw};
pub use score::{Reward, Scores};
