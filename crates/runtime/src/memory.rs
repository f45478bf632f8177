//! How much memory is in use.

use burn::tensor::Device;
use peak_alloc::PeakAlloc;

/// Counts every allocation of the process, so that the CPU device, whose tensors live on the heap, can say what a step
/// holds. Two relaxed additions an allocation; tensors are few and large.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes in use on `device`: its pool if it keeps one, else the process's heap, where a CPU device's tensors live.
pub fn memory_in_use(device: &Device) -> u64 {
    device.memory_pool_usage().map_or(ALLOCATOR.current_usage() as u64, |usage| usage.bytes_in_use)
}

/// Bytes that `device` keeps for itself: what its pool has taken from the driver, in use or not; without a pool, the heap
/// in use.
pub fn memory_reserved(device: &Device) -> u64 {
    device.memory_pool_usage().map_or(ALLOCATOR.current_usage() as u64, |usage| usage.bytes_reserved)
}

/// Bytes of the process that are in physical memory, where the system says so.
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))?;
    Some(1024 * kilobytes.trim().parse::<u64>().ok()?)
}

/// Most bytes of heap in use at once since the last reset.
pub fn peak_host_memory() -> u64 {
    ALLOCATOR.peak_usage() as u64
}

/// Starts the peak anew from what is in use.
pub fn reset_peak_host_memory() {
    ALLOCATOR.reset_peak_usage();
}

/// Lets the heap keep what it gets back, for the next tensor. Otherwise glibc returns every large block to the system, which
/// clears each page before it gives it out again: at every temporary of every step.
pub fn keep_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // The largest threshold that glibc takes; larger blocks still come from the system.
        const KEPT: libc::c_int = 32 << 20;
        // SAFETY: both calls set a number of the allocator and are allowed at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_seen() {
        reset_peak_host_memory();
        let before = peak_host_memory();
        drop(std::hint::black_box(vec![1_u8; 10_000_000]));
        assert!(peak_host_memory() >= before + 9_000_000);
    }

    /// Written pages are in memory; 15 MB is left for what the other test gives back at the same time.
    #[test]
    #[cfg(target_os = "linux")]
    fn resident_memory_grows_by_what_is_written() {
        let before = resident_memory().unwrap();
        let held = std::hint::black_box(vec![1_u8; 50_000_000]);
        assert!(resident_memory().unwrap() >= before + 35_000_000);
        drop(held);
    }
}
