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
mod grad_norm;
mod head_norm;
mod layer_norm;
pub mod linear;
mod quantized;
mod rms_norm;
mod rotary;
mod seed;
mod self_attention;
mod self_test;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod shader;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod sharing;
mod swiglu;
mod tensor_list;
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
#[allow(clippy::unwrap_used)]
mod testing;

pub use activation::{Activation, activation};
pub use adamw::{AdamwOutput, AdamwStep, Moments, adamw};
pub use attention::{AttentionMask, Scores, attention, mask_between_texts, masked_attention};
pub use compute::{Compute, compute_dtypes};
pub use cross_entropy::{CrossEntropy, linear_cross_entropy, linear_cross_entropy_rows};
pub use fastfood::Fastfood;
pub use feed_forward::feed_forward;
pub use grad_norm::{GroupedGradients, group_gradients};
pub use head_norm::HeadNorms;
pub use layer_norm::layer_norm;
pub use linear::{Factors, Layer, Matrix, group_weights, grouped_linear, linear, linear_by_pieces};
pub use quantized::{BlockFormat, BlockLoader, Quantized, QuantizedDtype, Quantizer, WeightFormat};
pub use rms_norm::{rms_norm, rms_norm_residual};
pub use rotary::{CosSin, Rotary};
pub use seed::backward_from;
pub use self_attention::self_attention;
pub use self_test::{Fault, Sizes, formats_are_read, self_test};
pub use swiglu::swiglu;
