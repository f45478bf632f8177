//! Ctrl-C and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stratune_protocol::{Problem, ProblemKind};
use stratune_runtime::Control;

/// The exit code of an interrupted run.
pub const EXIT_CODE: u8 = 130;

/// A control that the first signal asks to end the run with a checkpoint; a second signal ends the process at once.
pub fn control() -> Result<Control, Problem> {
    let control = Control::default();
    let (handle, asked) = (control.clone(), AtomicBool::new(false));
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(EXIT_CODE));
        }
        eprintln!("stopping after this step, with a checkpoint; once more to stop at once");
        handle.stop();
    })
    .map_err(|e| Problem::new(ProblemKind::Internal, format!("signals cannot be caught: {e}")))?;
    Ok(control)
}

/// Whether an answer is being written, and whether it is to go on.
#[derive(Default)]
struct State {
    writing: AtomicBool,
    stopped: AtomicBool,
}

/// Answers that a signal stops. Where none is being written, or one is stopped already, it ends the process.
pub struct Answering(Arc<State>);

/// One answer.
pub struct Answer<'a>(&'a State);

impl Answering {
    /// Watches for signals.
    pub fn watch() -> Result<Self, Problem> {
        let state = Arc::new(State::default());
        let seen = state.clone();
        ctrlc::set_handler(move || {
            if !seen.writing.load(Ordering::Relaxed) || seen.stopped.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(EXIT_CODE));
            }
        })
        .map_err(|e| Problem::new(ProblemKind::Internal, format!("signals cannot be caught: {e}")))?;
        Ok(Self(state))
    }

    /// An answer begins; it is over when what this gives is dropped.
    pub fn begin(&self) -> Answer<'_> {
        self.0.stopped.store(false, Ordering::Relaxed);
        self.0.writing.store(true, Ordering::Relaxed);
        Answer(&self.0)
    }
}

impl Answer<'_> {
    /// Whether nobody has stopped it.
    pub fn goes_on(&self) -> bool {
        !self.0.stopped.load(Ordering::Relaxed)
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::Relaxed);
    }
}
