//! What is trained: the methods of parameter-efficient tuning and their settings.
//!
//! [`MethodKind`] is the table of the methods: one entry each says what it trains, where it enters, which settings it
//! has. A [`MethodConfig`] is one of them with its settings; [`Methods`] are several that work together. The modules that
//! compute are in the `peft` crate; here is only what the page and the command line need to offer, check and count them.

mod check;
mod config;
mod facts;
mod kind;
mod list;
mod paper;
mod preset;
mod setting;
mod size;

pub use config::{MethodConfig, TargetOverride};
pub use kind::{Enters, Family, Merges, MethodKind};
pub use list::Methods;
pub use preset::{MethodNames, MethodPreset};
pub use setting::{Projection, Setting};
pub use size::{COMPACTER_TERMS, KroneckerShape, SideShape, kept};
