//! Where code runs: device choice, clock, yielding, cancelling, memory.
//!
//! Nothing above this crate asks which platform it is on.

mod control;
mod cores;
mod device;
mod launches;
mod memory;
mod read;
#[cfg(all(test, feature = "wgpu"))]
#[path = "../../../tests/src/skipped.rs"]
mod skipped;
mod span;
mod tensor_builder;
mod time;

pub use control::{Control, RunRequest};
pub use cores::work_on_this_thread;
pub use device::{Opened, open_cpu, open_cuda, open_wgpu, without_displays};
pub use launches::{Launches, Profile};
pub use memory::{
    free_memory, keep_heap, memory_in_use, memory_reserved, peak_host_memory, reset_peak_host_memory, resident_memory,
};
pub use read::{read_f32, read_i32, read_scalars, synchronize};
pub use span::{Span, Spent, span};
pub use tensor_builder::{TensorBuilder, chunk_length};
pub use time::{Stopwatch, block_on, sleep_briefly, unix_millis, until, yield_now};
