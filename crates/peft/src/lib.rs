#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! A method is one file, in which a [`Method`] says all that the rest has to know; [`MethodKind`] lists them. It enters
//! at a slot: a [`Linear`] holds a frozen base and its [`Delta`]s, a block holds [`Bottleneck`]s, an attention a
//! [`Prefix`], a norm its tuned gain, the model its prompt and what is [`Shared`]. There is one model code for every
//! method. Parameter paths are Hugging Face's.

mod adapter;
mod bottleneck;
mod check;
mod combination;
mod config;
mod delta;
mod error;
mod form;
mod found;
mod gate;
mod graph;
mod intrinsic;
mod kind;
mod linear;
mod list;
mod low_rank;
mod method;
mod methods;
mod mixture;
mod param;
mod pass;
mod projection;
mod setting;
mod shared;
mod site;
mod size;
mod sparse;
mod svd;
mod table;
mod weight;

pub use adapter::Adapter;
pub use bottleneck::{Bottleneck, Matrix, Place, Written};
pub use combination::{MethodNames, MethodPreset};
pub use config::{MethodConfig, TargetOverride};
pub use delta::{Delta, Left, Nature, Way};
pub use error::PeftError;
pub use form::{Form, Given, Read, prefix_part};
pub use found::{Base, Found};
pub use gate::Gate;
pub use graph::{blocks_that_fit, graph};
pub use intrinsic::Intrinsic;
pub use linear::Linear;
pub use list::Methods;
pub use low_rank::{Lora, base_bits};
pub use method::{Built, Entered, Enters, Family, FromData, Keeps, Merges, Method, Moving, Within};
pub use methods::{Adalora, Bias, Diff, Dora, Hiwi, Ia3, Kronecker, MethodKind, Prefix, Second, SideShape, Ssf, Vera};
pub use mixture::{Mixture, Part};
pub use param::{
    Additions, Gradients, Misfit, ModuleId, Named, Param, ParamId, ParamMut, Parameters, Rule, Values, Visitor, added,
    collect_gradients, count_trainable, everything, names, restore, restore_added, show, snapshot, track,
};
pub use pass::{Dropout, Pass};
pub use projection::Projector;
pub use setting::{Has, Projection, Setting, Takes, Usual};
pub use shared::{PrefixEncoder, Shared, VeraMatrices};
pub use site::Site;
pub use sparse::{Places, Sparse};
pub use svd::directions;
pub use table::Table;
pub use weight::Weight;
