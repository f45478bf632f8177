//! A device whose memory is exhausted where no error can be returned.
//!
//! wgpu tells of some allocations that fail by a panic, on whichever thread asked for them. Such a panic is told as any
//! other problem, with what to reduce, and ends the program; the run's files are whole at every moment.

use std::panic::{set_hook, take_hook};
use std::sync::OnceLock;

use stratune_protocol::{Problem, ProblemKind};

use crate::report;

static ADVICE: OnceLock<String> = OnceLock::new();

/// What to reduce in the run at hand.
pub fn advise(advice: String) {
    // A process has one run.
    let _ = ADVICE.set(advice);
}

/// Tells such panics from now on.
pub fn watch(json: bool) {
    let others = take_hook();
    set_hook(Box::new(move |panic| {
        let problem = Problem::of_device(&panic.to_string());
        if problem.kind != ProblemKind::Memory {
            return others(panic);
        }
        let problem = match ADVICE.get() {
            Some(advice) => {
                problem.next(format!("the last checkpoint stands; free memory and resume, or start anew and {advice}"))
            }
            None => problem,
        };
        report::problem(&problem, json);
        std::process::exit(i32::from(problem.kind.exit_code()));
    }));
}
