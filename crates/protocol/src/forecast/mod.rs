//! What a run will need, before it begins.
//!
//! [`Conditions`] are what it meets: the model, the rows, the device. They give a [`Forecast`] of its memory, by formula
//! and in parts; with the device's [`Limits`] that is a [`Verdict`], and where it is not good, the settings that would
//! help. How long it takes is measured, on steps that are thrown away: a [`Pace`].

mod bytes;
mod graph;
mod kept;
mod loss;
mod memory;
mod pace;
mod remedy;
mod verdict;

pub use bytes::{Bytes, scaled};
pub use graph::blocks_that_fit;
pub use loss::loss_rows;
pub use memory::{Conditions, Forecast};
pub use pace::Pace;
pub use remedy::{Remedy, advice};
pub use verdict::{Limits, Outlook, Verdict};
