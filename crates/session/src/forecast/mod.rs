//! What a run will need, before it begins.
//!
//! [`Conditions`] are what it meets: the model, the rows, the device. They give a [`Forecast`] of its memory, by
//! formula and in parts; with the device's [`Limits`](stratune_protocol::Limits) that is a
//! [`Verdict`](stratune_protocol::Verdict), and where it is not good, the settings that would help. How long it takes
//! is measured, on steps that are thrown away: [`pace`](crate::pace()).

mod kept;
mod memory;
mod remedy;
mod verdict;

pub use memory::{Conditions, Forecast};
pub use verdict::MemoryReport;
