//! Whether a run fits.

use serde::{Deserialize, Serialize};

/// What a device told about its memory. What it did not tell is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes that were free when it was opened.
    pub memory: Option<u64>,
    /// Most bytes of a single buffer.
    pub buffer: Option<u64>,
}

/// Whether a run fits, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It takes at most seven tenths of the memory.
    Fits,
    /// Each buffer fits, and how much memory there is was not told.
    Unknown,
    /// It takes at most all of the memory.
    Tight,
    /// It takes more, or a single buffer is larger than the device allows.
    WontFit,
}
