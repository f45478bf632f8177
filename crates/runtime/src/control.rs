//! How a front end reaches a run that is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What the front end has asked of the run, looked at between steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRequest {
    /// Go on.
    Run,
    /// Halt until another request comes.
    Pause,
    /// Write a checkpoint and end.
    Stop,
}

/// A handle that a signal handler, a message handler and the run share.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<AtomicU8>);

impl Control {
    /// Asks the run to go on.
    pub fn resume(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Asks the run to halt.
    pub fn pause(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// Asks the run to end.
    pub fn stop(&self) {
        self.0.store(2, Ordering::Relaxed);
    }

    /// The latest request.
    pub fn request(&self) -> RunRequest {
        match self.0.load(Ordering::Relaxed) {
            0 => RunRequest::Run,
            1 => RunRequest::Pause,
            _ => RunRequest::Stop,
        }
    }
}
