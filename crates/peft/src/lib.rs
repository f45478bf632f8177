#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! A method is one file, in which a [`Method`] says all that the rest has to know; [`MethodKind`] lists them. It enters
//! at a slot: a [`Linear`] holds a frozen base and its [`Delta`]s, a block holds [`Bottleneck`]s, an attention a
//! [`Prefix`], a norm its tuned gain, the model its prompt and what is [`Shared`]. There is one model code for every
//! method. Parameter paths are Hugging Face's.

mod adapter;
mod base_layer;
mod bottleneck;
mod check;
mod combination;
mod config;
mod delta;
mod embedding;
mod error;
mod form;
mod forward_context;
mod gate;
mod graph;
mod intrinsic;
mod kind;
mod linear;
mod list;
mod lora_factors;
mod low_rank;
mod method;
mod methods;
mod mixture;
mod param;
mod projection;
mod saved_modules;
mod setting;
mod shared;
mod site;
mod size;
mod sparse;
mod structure;
mod structure_table;
mod svd;
mod switch;
mod weight;

pub use adapter::Adapter;
pub use base_layer::{AdaptedLayer, BaseLayer};
pub use bottleneck::{AdapterPlacement, Bottleneck, Matrix, Written};
pub use combination::{MethodNames, MethodPreset, s4_groups};
pub use config::{MethodConfig, TargetOverride};
pub use delta::{Delta, DeltaProperties, Effect, Finalized};
pub use embedding::Embedding;
pub use error::PeftError;
pub use form::{Form, Given, Read, prefix_part};
pub use forward_context::{Dropout, ForwardContext};
pub use gate::Gate;
pub use graph::{blocks_that_fit, graph};
pub use intrinsic::Intrinsic;
pub use linear::Linear;
pub use list::Methods;
pub use lora_factors::LoraFactors;
pub use low_rank::{Lora, base_bits};
pub use method::{Built, Entered, Enters, Family, FromData, Merges, Method, Moving, SavedActivations, Within};
pub use methods::{Adalora, Bias, Diff, Dora, Hiwi, Ia3, Kronecker, MethodKind, Prefix, Second, SideShape, Ssf, Vera};
pub use mixture::{Mixture, Part};
pub use param::{
    Additions, Gradients, ModuleId, Named, Param, ParamId, ParamMut, Parameters, StateMismatch, UpdateRule, Values,
    Visitor, adapter_values, collect_gradients, count_trainable, named_parameters, names, require_grad, restore,
    restore_adapter, show, snapshot,
};
pub use projection::Projector;
pub use saved_modules::SavedModules;
pub use setting::{Has, Projection, Setting, Takes, Usual};
pub use shared::{PrefixEncoder, Shared, VeraMatrices};
pub use site::Site;
pub use sparse::{Indices, Sparse};
pub use structure::{Placed, STRUCTURE_JSON, Structure};
pub use svd::singular_vectors;
pub use switch::{Scaled, Switch, Switched};
pub use weight::Weight;
