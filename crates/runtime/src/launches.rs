//! What is launched on GPUs, seen by the engine at the moment it issues it.

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
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        {
            let seen = std::sync::Arc::new(observer::Seen::default());
            Self { _watch: cubecl::logging::LaunchObservation::new(seen.clone()), seen }
        }
        #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
        Self {}
    }

    /// Kernels launched since; none in a build without GPUs.
    pub fn count(&self) -> u64 {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        return self.seen.count();
        #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
        0
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod observer {
    use std::sync::atomic::{AtomicU64, Ordering};

    use cubecl::logging::LaunchObserver;

    #[derive(Default)]
    pub struct Seen(AtomicU64);

    impl Seen {
        pub fn count(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl LaunchObserver for Seen {
        fn launched(&self, _kernel: &'static str) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
