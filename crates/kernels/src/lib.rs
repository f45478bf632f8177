//! Differentiable operations.
//!
//! Each says its shapes and its formula; `reference` runs everywhere, `backward` is there where autodiff would keep or
//! compute too much, and `launch` where a device has a kernel of ours. [`self_test`] compares them on the device in use.

mod activation;
mod adamw;
pub mod attention;
mod compute;
#[cfg(feature = "cpu")]
mod cpu;
pub mod cross_entropy;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
mod fastfood;
mod feed_forward;
pub mod linear;
mod packed;
mod rms_norm;
mod rotary;
mod seed;
mod self_attention;
mod self_test;
mod several;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod shader;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod sharing;
mod squares;
mod swiglu;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
#[allow(clippy::unwrap_used)]
mod testing;

pub use activation::{Activation, activation};
pub use adamw::{AdamwStep, Moments, Moved, adamw};
pub use attention::{Scores, Sight, causal_attention};
pub use compute::{Compute, compute_dtypes};
pub use cross_entropy::{CrossEntropy, linear_cross_entropy};
pub use fastfood::Fastfood;
pub use feed_forward::feed_forward;
pub use linear::{Factors, Layer, Matrix, lay_together, layers, linear, linear_by_pieces};
pub use packed::{Packed, PackedDtype, Packer};
pub use rms_norm::{rms_norm, rms_norm_beside};
pub use rotary::{Angles, Rotary};
pub use seed::backward_from;
pub use self_attention::self_attention;
pub use self_test::{Fault, Sizes, self_test};
pub use squares::{Gathered, gather};
pub use swiglu::swiglu;
