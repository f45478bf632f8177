//! Progress of the long phases of a run, and how a person ends them.

use std::cell::{Cell, RefCell};
use std::future::Future;

use stratune_protocol::Problem;
use stratune_runtime::{Control, RunRequest, Stopwatch, until};

use crate::Event;

/// Seconds between two tellings of how far a phase is.
const OFTEN: f64 = 0.1;

/// Reports the progress of the phases of a run, and knows whether a person wants it to end.
pub struct ProgressReporter<'a> {
    control: Control,
    emit: RefCell<Box<dyn FnMut(Event) + 'a>>,
    told: Cell<Option<Stopwatch>>,
}

impl std::fmt::Debug for ProgressReporter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("control", &self.control).finish_non_exhaustive()
    }
}

impl<'a> ProgressReporter<'a> {
    /// Tells `emit`, and looks at `control`.
    pub fn new(control: &Control, emit: impl FnMut(Event) + 'a) -> Self {
        Self { control: control.clone(), emit: RefCell::new(Box::new(emit)), told: Cell::new(None) }
    }

    /// Of phases that are not ended by a person.
    pub fn of(emit: impl FnMut(Event) + 'a) -> Self {
        Self::new(&Control::default(), emit)
    }

    /// Reports nothing.
    pub fn silent() -> Self {
        Self::of(|_| {})
    }

    /// Says how far a phase is; the total is 0 if it is not known. The beginning and the end are always told, and what is
    /// between them now and then.
    pub fn tell(&self, what: &str, done: usize, total: usize) {
        let soon = self.told.get().is_some_and(|clock| clock.seconds() < OFTEN);
        if soon && done > 0 && done < total {
            return;
        }
        self.told.set(Some(Stopwatch::start()));
        self.emit(Event::Progress { what: what.to_string(), done: done as u64, total: total as u64 });
    }

    /// Passes an event on.
    pub fn emit(&self, event: Event) {
        (self.emit.borrow_mut())(event);
    }

    /// A part of a phase: what it is, and how far.
    ///
    /// # Errors
    /// Its own, and that it was stopped.
    pub async fn during_part<T>(
        &self,
        what: &str,
        (done, total): (usize, usize),
        part: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        self.tell(what, done, total);
        unless_stopped(&self.control, part).await
    }

    /// A phase that says nothing of itself but what it is.
    ///
    /// # Errors
    /// Its own, and that it was stopped.
    pub async fn during<T>(&self, what: &str, phase: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        self.during_part(what, (0, 0), phase).await
    }
}

/// Runs a phase, and drops it where it waits once a person wants the run to end.
///
/// # Errors
/// The phase's own, and that it was stopped.
pub(crate) async fn unless_stopped<T>(
    control: &Control,
    phase: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    // In the heap: these futures are large, and lie within one another.
    until(Box::pin(phase), || control.request() == RunRequest::Stop).await.unwrap_or_else(|| Err(Problem::stopped()))
}

#[cfg(test)]
mod tests {
    use stratune_protocol::ProblemKind;
    use stratune_runtime::{block_on, yield_now};

    use super::*;

    async fn phase(control: &Control, stops_at: usize, reached: &Cell<usize>) -> Result<(), Problem> {
        for n in 1..=5 {
            reached.set(n);
            if n == stops_at {
                control.stop();
            }
            yield_now().await;
        }
        Ok(())
    }

    #[test]
    fn a_phase_ends_where_it_is_stopped_and_another_does_not_begin() {
        let (control, reached) = (Control::default(), Cell::new(0));
        let told = RefCell::new(Vec::new());
        let progress = ProgressReporter::new(&control, |event| told.borrow_mut().push(event));
        let ended = block_on(progress.during("waiting", phase(&control, 3, &reached)));
        assert_eq!((ended.map_err(|p| p.kind), reached.get()), (Err(ProblemKind::Stopped), 3));
        assert!(block_on(progress.during("waiting", phase(&control, 0, &reached))).is_err());
        assert_eq!(reached.get(), 3);
        control.resume();
        assert_eq!(block_on(progress.during("waiting", phase(&control, 0, &reached))), Ok(()));
        assert_eq!(reached.get(), 5);
        drop(progress);
        assert_eq!(told.into_inner(), vec![Event::Progress { what: "waiting".into(), done: 0, total: 0 }; 3]);
    }

    #[test]
    fn the_beginning_and_the_end_are_told_however_fast_it_goes() {
        let told = RefCell::new(Vec::new());
        let progress = ProgressReporter::new(&Control::default(), |event| {
            if let Event::Progress { done, .. } = event {
                told.borrow_mut().push(done);
            }
        });
        (0..=1000).for_each(|done| progress.tell("counting", done, 1000));
        drop(progress);
        let told = told.into_inner();
        assert!(told.len() < 100 && told.first() == Some(&0) && told.last() == Some(&1000), "{told:?}");
    }
}
