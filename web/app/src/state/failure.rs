//! What becomes of the page when the engine says that something is wrong, does not start, or ends.

use leptos::prelude::*;
use stratune_protocol::{Problem, ProblemKind, Verdict, advice};

use super::activity::Activity;
use super::notices::Offer;
use super::run::{Card, Run};
use crate::bridge::worker::EngineKind;

impl Run {
    /// What the engine said is wrong.
    pub(super) fn went_wrong(self, problem: Problem) {
        if !self.link.with_value(|l| l.ready) {
            return self.did_not_start(problem);
        }
        self.progress.set(None);
        self.wish.set(None);
        // The engine answers in order, so the problem is that of the first thing awaited.
        if self.reading_model.get_untracked() {
            self.reading_model.set(false);
        } else {
            let reading = self.reading_data.get_untracked();
            let awaits = self.exporting.get_untracked() || self.said.with_untracked(|said| said.asked);
            // The example has no labels, whichever of several readings this is the answer to.
            let lacks = !awaits && untrack(|| self.wants_labels_of_the_example());
            if reading || lacks {
                self.reading_data.set(false);
                self.data.set(None);
            }
            if lacks || reading && self.looks.with_untracked(Option::is_some) {
                // What to do about it stands in the card of the data.
                return self.open.set(Some(Card::Data));
            }
        }
        self.exporting.set(false);
        self.expect_no_pace();
        self.answers.update(|a| a.writing = None);
        self.said.update(|s| s.asked = false);
        self.alert(problem, None);
    }

    pub(super) fn did_not_start(self, problem: Problem) {
        if self.link.with_value(|l| l.on_gpu) {
            self.tell(
                format!("The GPU cannot be used, so the page computes on the CPU: {problem}"),
                problem.next,
                None,
            );
            self.start_engine(EngineKind::Cpu, false);
        } else {
            self.reading_model.set(false);
            self.reading_data.set(false);
            self.alert(problem, Some(Offer::Restart));
        }
    }

    /// The engine's worker is no more.
    pub(super) fn lost(self, reason: &str) {
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        let problem = self.of_death(reason);
        let (ready, on_gpu, may_restart) = self.link.with_value(|l| (l.ready, l.on_gpu, l.may_restart));
        if !ready {
            return self.did_not_start(problem.next("reload the page"));
        }
        self.answers.update(|a| a.writing = None);
        self.said.update(|s| s.asked = false);
        self.exporting.set(false);
        self.expect_no_pace();
        let kind = if on_gpu { EngineKind::Gpu } else { EngineKind::Cpu };
        if self.activity.get_untracked().runs() && may_restart {
            self.tell(format!("The engine stopped ({reason}); it is being restarted"), "", None);
            self.start_engine(kind, true);
        } else {
            self.activity.set(Activity::Idle);
            self.adapter.set(None);
            self.tuned.set(None);
            self.wish.set(None);
            self.reading_model.set(false);
            self.reading_data.set(false);
            self.alert(problem, Some(Offer::Restart));
        }
    }

    /// What the end of the engine's worker comes to.
    fn of_death(self, reason: &str) -> Problem {
        let memory = self.plan.with_untracked(|plan| plan.as_ref().and_then(|plan| plan.memory.clone()));
        // Code in a tab that cannot allocate ends without a word, in a trap.
        let full = memory.as_ref().is_some_and(|m| m.verdict >= Verdict::Tight) && reason.contains("unreachable");
        if full || Problem::of_device(reason).kind == ProblemKind::Memory {
            let what = format!("the engine stopped: its memory is exhausted ({reason})");
            let advice = advice(&memory.map(|m| m.savings).unwrap_or_default());
            return Problem::new(ProblemKind::Memory, what).next(format!(
                "restart it and go on from the last checkpoint; or, for a run that needs less, {advice}"
            ));
        }
        Problem::new(ProblemKind::Device, format!("the engine stopped: {reason}"))
            .next("restart it; a saved run can go on from its last checkpoint")
    }
}
