//! What is launched on GPUs, seen by the engine at the moment it issues it, and how long it ran.

use std::collections::BTreeMap;

use crate::span::{self, Spent};

/// Counts the launches of the whole process while it lives.
pub struct Launches {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    seen: std::sync::Arc<observer::Seen>,
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    _watch: cubecl::logging::LaunchObservation,
}

impl Launches {
    /// Begins to count.
    pub fn watch() -> Self {
        Self::new(false)
    }

    fn new(timed: bool) -> Self {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        {
            let seen = std::sync::Arc::new(observer::Seen::new(timed));
            Self { _watch: cubecl::logging::LaunchObservation::new(seen.clone()), seen }
        }
        #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
        {
            let _ = timed;
            Self {}
        }
    }

    /// Kernels launched since; none in a build without GPUs.
    pub fn count(&self) -> u64 {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        return self.seen.count();
        #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
        0
    }
}

/// Counts what is spent in spans while it lives.
pub struct Profile {
    // Only a build with GPUs has anything to read from it.
    #[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), allow(dead_code))]
    launches: Launches,
}

impl Profile {
    /// Begins.
    pub fn begin() -> Self {
        span::begin();
        Self { launches: Launches::new(true) }
    }

    /// Waits until the kernels have run. What was launched in no span is called `rest`.
    pub async fn end(self) -> BTreeMap<&'static str, Spent> {
        #[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), allow(unused_mut))]
        let mut spent = span::end();
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        for (name, profile) in self.launches.seen.take() {
            let sum = spent.entry(name.unwrap_or("rest")).or_default();
            sum.launches += 1;
            // A launch of nothing was not measured.
            sum.device_seconds += profile.resolve().await.map_or(0.0, |ticks| ticks.duration().as_secs_f64());
        }
        spent
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod observer {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use cubecl::logging::{LaunchObserver, ProfileDuration, TimingRequest};

    use crate::span::innermost;

    /// The span in which a kernel was launched, and its time, which nobody has waited for.
    type Timed = (Option<&'static str>, ProfileDuration);

    pub struct Seen {
        count: AtomicU64,
        timed: bool,
        times: Mutex<Vec<Timed>>,
    }

    impl Seen {
        pub fn new(timed: bool) -> Self {
            Self { count: AtomicU64::new(0), timed, times: Mutex::new(Vec::new()) }
        }

        pub fn count(&self) -> u64 {
            self.count.load(Ordering::Relaxed)
        }

        pub fn take(&self) -> Vec<Timed> {
            self.times.lock().map(|mut times| std::mem::take(&mut *times)).unwrap_or_default()
        }
    }

    impl LaunchObserver for Seen {
        fn launched(&self, _kernel: &'static str) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }

        fn timing(&self) -> TimingRequest {
            if self.timed { TimingRequest::Deferred } else { TimingRequest::None }
        }

        // Called on the thread that launched, right after the launch, so the span is still open.
        fn profiled(&self, _kernel: &'static str, profile: ProfileDuration) {
            if let Ok(mut times) = self.times.lock() {
                times.push((innermost(), profile));
            }
        }
    }
}
