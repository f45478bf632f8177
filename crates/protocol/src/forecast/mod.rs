//! What an engine says of a run before it begins, as plain data: whether it [fits](Verdict) a device's [`Limits`], what
//! would [help](Remedy), and how long it takes: a [`Pace`].

mod bytes;
mod loss;
mod pace;
mod remedy;
mod verdict;

pub use bytes::{Bytes, scaled};
pub use loss::loss_rows;
pub use pace::Pace;
pub use remedy::{Remedy, advice};
pub use verdict::{Limits, Verdict};
