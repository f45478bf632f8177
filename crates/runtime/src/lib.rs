//! Where code runs: device choice, clock, yielding, cancelling, memory.
//!
//! Nothing above this crate asks which platform it is on.

mod control;
mod device;
mod memory;
mod read;
mod time;

pub use control::{Control, Wish};
pub use device::{Opened, open_cpu, open_cuda, open_wgpu};
pub use memory::{free_memory, memory_in_use, peak_host_memory, reset_peak_host_memory};
pub use read::{read_f32, read_scalars};
pub use time::{Stopwatch, block_on, rest, unix_millis, yield_now};
