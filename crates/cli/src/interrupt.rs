//! Ctrl-C and SIGTERM.

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
