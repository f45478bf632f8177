//! Where code runs: device choice, clock, yielding, cancelling, memory.
//!
//! Nothing above this crate asks which platform it is on.

mod control;
mod device;
mod filling;
mod launches;
mod memory;
mod read;
#[cfg(all(test, feature = "wgpu"))]
#[path = "../../../tests/src/skipped.rs"]
mod skipped;
mod span;
mod time;

pub use control::{Control, Wish};
pub use device::{Opened, open_cpu, open_cuda, open_wgpu, without_displays};
pub use filling::{Filling, at_once};
pub use launches::{Launches, Profile};
pub use memory::{
    free_memory, keep_heap, memory_in_use, memory_reserved, peak_host_memory, reset_peak_host_memory, resident_memory,
};
pub use read::{read_f32, read_i32, read_scalars, settle};
pub use span::{Span, Spent, span};
pub use time::{Stopwatch, block_on, rest, unix_millis, until, yield_now};
