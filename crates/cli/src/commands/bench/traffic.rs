//! What a step asks of a GPU, counted where it is asked: launches by the engine that issues them, the rest from what
//! wgpu writes into its log at the finest level.

use std::fmt;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use stratune_protocol::Problem;
use stratune_runtime::Launches;

static SUBMITS: AtomicU64 = AtomicU64::new(0);
static UPLOADS: AtomicU64 = AtomicU64::new(0);
static READ_BACKS: AtomicU64 = AtomicU64::new(0);

struct Calls;

impl Log for Calls {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        let count = match line.as_str() {
            "Queue::submit" => &SUBMITS,
            "Queue::write_buffer" => &UPLOADS,
            line if line.starts_with("Buffer::map_async ") => &READ_BACKS,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// What was asked of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Kernels that were launched.
    pub dispatches: u64,
    /// What only wgpu tells.
    #[serde(flatten)]
    pub queue: Option<Queue>,
}

/// What went through wgpu's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Command buffers handed over.
    pub submits: u64,
    /// Writes from the host, of data or of a kernel's sizes.
    pub uploads: u64,
    /// Buffers mapped to be read by the host.
    pub read_backs: u64,
}

impl Traffic {
    /// What `work` asks of a GPU. `wgpu`: the device is wgpu's.
    ///
    /// # Errors
    /// The work's.
    pub async fn of<T>(wgpu: bool, work: impl Future<Output = Result<T, Problem>>) -> Result<Self, Problem> {
        static LISTENS: OnceLock<bool> = OnceLock::new();
        let listens = *LISTENS.get_or_init(|| log::set_logger(&Calls).is_ok());
        let counts = [&SUBMITS, &UPLOADS, &READ_BACKS];
        counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        let launches = Launches::watch();
        log::set_max_level(LevelFilter::Trace);
        let done = work.await;
        log::set_max_level(LevelFilter::Off);
        done?;
        let dispatches = launches.count();
        let [submits, uploads, read_backs] = counts.map(|count| count.load(Ordering::Relaxed));
        let queue = (wgpu && listens).then_some(Queue { submits, uploads, read_backs });
        Ok(Self { dispatches, queue })
    }
}

/// One step's, and how much of it another block costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StepTraffic {
    /// Of the whole step.
    #[serde(flatten)]
    pub step: Traffic,
    /// Dispatches that a second block adds to those of a model of one: forward, backward and update.
    pub dispatches_a_block: u64,
}

impl fmt::Display for StepTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dispatches a step: {}, {} a block", self.step.dispatches, self.dispatches_a_block)?;
        if let Some(Queue { submits, uploads, read_backs }) = self.step.queue {
            write!(f, "; submits {submits}; uploads {uploads}; read-backs {read_backs}")?;
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Tensor;
    use stratune_runtime::{block_on, open_wgpu, read_f32};

    use super::*;

    /// Two operations on numbers from the host, of which the result is read; what runs once only is done before.
    #[test]
    fn a_known_piece_of_work_is_counted() {
        let device = block_on(open_wgpu()).unwrap().device;
        let work = || async {
            let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &device);
            read_f32(x.exp().log()).await
        };
        block_on(work()).unwrap();
        let Traffic { dispatches, queue } = block_on(Traffic::of(true, work())).unwrap();
        let queue = queue.unwrap();
        assert_eq!((dispatches, queue.uploads, queue.read_backs), (2, 1, 1));
        assert!(queue.submits >= 1, "{queue:?}");
        let nothing = block_on(Traffic::of(true, async { Ok(()) })).unwrap();
        assert_eq!((nothing.dispatches, nothing.queue.unwrap().submits), (0, 0));
    }
}
