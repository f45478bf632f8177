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

/// Bytes of memory that this process can still get, where the system tells: Linux its estimate, a browser the 4 GiB that
/// a tab's code can address, or what the machine has if that is less.
pub fn free_memory() -> Option<u64> {
    #[cfg(target_family = "wasm")]
    {
        let navigator = js_sys::Reflect::get(&js_sys::global(), &"navigator".into()).ok();
        let has = navigator.and_then(|n| js_sys::Reflect::get(&n, &"deviceMemory".into()).ok()?.as_f64());
        Some((has.unwrap_or(4.0).min(4.0) * f64::from(1 << 30)) as u64)
    }
    #[cfg(not(target_family = "wasm"))]
    meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// What Linux says is available, from its table in KiB.
#[cfg(not(target_family = "wasm"))]
fn meminfo(table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_read_or_unknown() {
        let table = "MemTotal:       24000000 kB\nMemFree:         1000 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(meminfo(table), Some(20_480_000_000));
        for wrong in ["", "MemAvailable: many kB", "MemAvailable: 5", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(meminfo(wrong), None, "{wrong}");
        }
        assert!(free_memory().is_none_or(|bytes| bytes > 1 << 20));
    }

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
