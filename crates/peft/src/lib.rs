#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! A method is one file. It enters at a slot: a [`Linear`] holds a frozen base and its [`Delta`]s, a block holds
//! [`Bottleneck`]s, an attention a [`Prefix`], a norm its tuned gain, the model its prompt and what is [`Shared`]. There is
//! one model code for every method; the compiler names each place that a new one must be handled. Parameter paths are
//! Hugging Face's.

mod adalora;
mod bottleneck;
mod delta;
mod diff;
mod dora;
mod error;
mod found;
mod gate;
mod intrinsic;
mod kronecker;
mod left;
mod linear;
mod lora;
mod mixture;
mod param;
mod pass;
mod prefix;
mod projection;
mod shared;
mod site;
mod sparse;
mod svd;
mod table;
mod vectors;
mod vera;
mod weight;

pub use adalora::Adalora;
pub use bottleneck::{Bottleneck, Matrix, Place};
pub use delta::Delta;
pub use diff::Diff;
pub use dora::Dora;
pub use error::PeftError;
pub use gate::Gate;
pub use intrinsic::Intrinsic;
pub use kronecker::{Kronecker, Second};
pub use left::{for_base_as_read, settled};
pub use linear::Linear;
pub use lora::{Lora, base_bits};
pub use mixture::{Mixture, Part};
pub use param::{
    Additions, Gradients, Misfit, ModuleId, Param, ParamId, Parameters, Rule, Values, Visitor, added,
    collect_gradients, count_trainable, everything, names, restore, restore_added, snapshot, track,
};
pub use pass::{Dropout, Pass};
pub use prefix::Prefix;
pub use projection::Projector;
pub use shared::{PrefixEncoder, Shared, VeraMatrices};
pub use site::Site;
pub use sparse::{Places, Sparse};
pub use svd::directions;
pub use table::Table;
pub use vectors::{Bias, Hiwi, Ia3, Ssf};
pub use vera::Vera;
pub use weight::Weight;
