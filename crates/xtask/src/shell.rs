//! Running other programs, and what is said when one fails.

use std::fmt;
use std::process::{Command, ExitStatus};
use std::time::Instant;

/// What went wrong, what to do next, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What happened, with its place.
    pub what: String,
    /// The next step.
    pub next: String,
    /// 1: something is wrong with the code; 2: with the command line or with what is installed.
    pub code: u8,
}

impl Failure {
    /// The command line or the machine has to change.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into(), code: 2 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\nnext:  {}", self.what, self.next.replace('\n', "\n       "))
    }
}

/// Runs a command and lets it speak for itself.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|e| does_not_start(command, &e))?;
    succeeded(command, status)
}

/// A program that is not there, or not to be run.
pub fn does_not_start(command: &Command, e: &std::io::Error) -> Failure {
    Failure::usage(format!("`{}` does not start: {e}", words(command)), "install it, or put it on the PATH")
}

/// Whether a program ended well, which has said by itself what went wrong.
pub fn succeeded(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let what = format!("`{}` ended with {status}", words(command));
    Err(Failure { what, next: "read what it says above".into(), code: 1 })
}

/// What a command prints; `None` if it is not there or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Does one named step and says how long it took. A step that fails is named in the failure.
pub fn step(name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    eprintln!("── {name}");
    let clock = Instant::now();
    let done = work();
    let seconds = clock.elapsed().as_secs_f64();
    match done {
        Ok(()) => {
            eprintln!("ok {name} ({seconds:.1} s)");
            Ok(())
        }
        Err(failure) => {
            eprintln!("FAILED {name} ({seconds:.1} s)");
            Err(Failure { what: format!("{name}: {}", failure.what), ..failure })
        }
    }
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_is_named_and_keeps_its_code() {
        let failure = step("third", || Err(Failure::usage("no browser", "install one"))).unwrap_err();
        assert_eq!((failure.what.as_str(), failure.code), ("third: no browser", 2));
        step("fourth", || Ok(())).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_the_machines_fault() {
        let mut command = Command::new("no-such-program-anywhere");
        command.arg("--version");
        assert_eq!(output(&mut command), None);
        let failure = run(&mut command).unwrap_err();
        assert!(failure.code == 2 && failure.what.contains("no-such-program-anywhere --version"), "{failure}");
    }
}
