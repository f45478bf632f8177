//! What may be trained, and how it enters a layer.
//!
//! A layer is a [`Linear`]: a frozen base and, where a method enters, a [`Delta`]. There is one model code for every
//! method; the compiler names each place that a new one must be handled. Parameter paths are Hugging Face's.

mod error;
mod linear;
mod lora;
mod param;
mod pass;

pub use error::PeftError;
pub use linear::{Delta, Linear};
pub use lora::{Lora, LoraShape};
pub use param::{
    Gradients, Param, Parameters, Visitor, collect_gradients, count_trainable, everything, restore, snapshot, track,
};
pub use pass::{Dropout, Pass};
