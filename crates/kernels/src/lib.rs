//! Differentiable operations.
//!
//! Each says its shapes and its formula; `reference` runs everywhere, `backward` is there where autodiff would keep or
//! compute too much, and `launch` where a device has a kernel of ours. [`self_test`] compares them on the device in use.

pub mod attention;
#[cfg(feature = "cpu")]
mod cpu;
pub mod cross_entropy;
pub mod linear;
mod rms_norm;
mod rotary;
mod self_test;
mod swiglu;

pub use attention::{Sight, causal_attention};
pub use cross_entropy::{CrossEntropy, linear_cross_entropy};
pub use linear::linear;
pub use rms_norm::rms_norm;
pub use rotary::{Angles, Rotary, RotaryScaling};
pub use self_test::self_test;
pub use swiglu::swiglu;
