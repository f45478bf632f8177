//! What a run writes into its folder as it goes on, beside its checkpoint: `run.toml` and `metrics.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Error, Write};
use std::path::{Path, PathBuf};

use stratune_protocol::Problem;
use stratune_session::happened_by;
use stratune_store::write_files;
use stratune_train::{Event, RunConfig};

use crate::open;

const METRICS: &str = "metrics.jsonl";
/// Where the metrics of a run are that is to replace another.
const BESIDE: &str = "metrics.new.jsonl";

/// The configuration of a run, and its events, one a line.
pub struct Records {
    out: PathBuf,
    /// The configuration, until it is written.
    config: Option<Vec<u8>>,
    file: BufWriter<File>,
    failed: Option<Problem>,
}

impl Records {
    /// Of a run that has done `done` steps. It goes on in the file that is there; what a killed run wrote after its checkpoint
    /// happens again and is dropped.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn open(out: &Path, config: &RunConfig, done: usize) -> Result<Self, Problem> {
        let path = out.join(METRICS);
        let before = if done > 0 { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let kept = before.lines().filter(|line| Event::from_line(line).is_some_and(|e| happened_by(&e, done)));
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        let run_toml = ("run.toml".into(), config.to_toml()?.into_bytes());
        write_files(out, &[(METRICS.into(), kept.into_bytes()), run_toml], true)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| open::cannot_write(&path, &e))?;
        Ok(Self { out: out.into(), config: None, file: BufWriter::new(file), failed: None })
    }

    /// Of a run that is to replace the one in the folder: beside it, until its first checkpoint has taken the place of that
    /// one's.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn beside(out: &Path, config: &RunConfig) -> Result<Self, Problem> {
        let path = out.join(BESIDE);
        let config = Some(config.to_toml()?.into_bytes());
        let file = File::create(&path).map_err(|e| open::cannot_write(&path, &e))?;
        Ok(Self { out: out.into(), config, file: BufWriter::new(file), failed: None })
    }

    /// Takes notice of an event. What goes wrong is told by [`finish`](Self::finish), after the run itself is safe.
    pub fn write(&mut self, event: &Event) {
        let lasting = matches!(
            event,
            Event::Step(_)
                | Event::Validation { .. }
                | Event::Importance { .. }
                | Event::Search(_)
                | Event::Sample { .. }
                | Event::Ended { .. }
        );
        let saved = matches!(event, Event::Saved { run: Some(_) });
        if self.failed.is_some() {
            return;
        }
        let mut write = || -> Result<(), Problem> {
            let at = self.out.join(METRICS);
            let fail = |e: Error| open::cannot_write(&at, &e);
            if lasting {
                // A line is there before the checkpoint that comes after it: whoever goes on from that has them all.
                writeln!(self.file, "{}", event.line()).map_err(fail)?;
                self.file.flush().map_err(fail)?;
            }
            if let Some(config) = self.config.take_if(|_| saved) {
                self.file.flush().map_err(fail)?;
                std::fs::rename(self.out.join(BESIDE), &at).map_err(fail)?;
                write_files(&self.out, &[("run.toml".into(), config)], true)?;
            }
            Ok(())
        };
        self.failed = write().err();
    }

    /// Sees to it that all is written.
    ///
    /// # Errors
    /// Something could not be: a full disk is told at the end.
    pub fn finish(&mut self) -> Result<(), Problem> {
        let flush =
            |file: &mut BufWriter<File>| file.flush().map_err(|e| open::cannot_write(&self.out.join(METRICS), &e));
        self.failed.take().map_or_else(|| flush(&mut self.file), Err)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if self.config.is_some() {
            // The run has not come to a checkpoint, and what it wrote is of no use.
            let _ = std::fs::remove_file(self.out.join(BESIDE));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::StepReport;
    use stratune_train::SavedRun;

    use super::*;

    fn step(step: usize) -> Event {
        Event::Step(StepReport { step, ..StepReport::default() })
    }

    fn steps(out: &Path, name: &str) -> Vec<usize> {
        let text = std::fs::read_to_string(out.join(name)).unwrap();
        let step = |line: &str| if let Some(Event::Step(s)) = Event::from_line(line) { Some(s.step) } else { None };
        text.lines().filter_map(step).collect()
    }

    #[test]
    fn a_run_that_replaces_another_leaves_it_until_its_first_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let old = RunConfig { model: "old".into(), ..RunConfig::default() };
        let new = RunConfig { model: "new".into(), ..RunConfig::default() };
        let of = || RunConfig::from_toml(&std::fs::read_to_string(dir.path().join("run.toml")).unwrap()).unwrap().model;
        let mut first = Records::open(dir.path(), &old, 0).unwrap();
        (1..=4).for_each(|n| first.write(&step(n)));
        first.finish().unwrap();

        let mut given_up = Records::beside(dir.path(), &new).unwrap();
        given_up.write(&step(1));
        drop(given_up);
        assert_eq!((steps(dir.path(), METRICS), of().as_str()), (vec![1, 2, 3, 4], "old"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left of it");

        let mut second = Records::beside(dir.path(), &new).unwrap();
        second.write(&step(1));
        assert_eq!((steps(dir.path(), METRICS), of().as_str()), (vec![1, 2, 3, 4], "old"));
        let run = SavedRun { step: 1, steps: 2, model: "new".into(), written: 0, config: Box::new(new.clone()) };
        second.write(&Event::Saved { run: Some(run) });
        second.write(&step(2));
        second.finish().unwrap();
        assert_eq!((steps(dir.path(), METRICS), of().as_str()), (vec![1, 2], "new"));
        drop(second);
        let mut again = Records::open(dir.path(), &new, 1).unwrap();
        again.write(&step(2));
        again.finish().unwrap();
        assert_eq!(steps(dir.path(), METRICS), [1, 2], "what came after the checkpoint comes again");
    }
}
