//! What the engine is doing, as far as the page may act on it.

use super::settings::Event;

/// What the engine is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// No run yet.
    #[default]
    Idle,
    /// A run has been asked for, after one that is over or after none.
    Starting {
        /// Whether there was one.
        again: bool,
    },
    /// A run is under way.
    Training,
    /// A run waits.
    Paused,
    /// A run is over; what it learned can be used.
    Done,
}

impl Activity {
    /// What it is doing after `event`.
    pub fn after(self, event: &Event) -> Self {
        match event {
            Event::Begun { .. } | Event::Resumed { .. } => Self::Training,
            Event::Paused { .. } => Self::Paused,
            Event::Ended { .. } => Self::Done,
            // A run that goes wrong is over; what was good of it is kept.
            Event::Problem(_) => match self {
                // One that does not come about leaves things as they were.
                Self::Starting { again: false } => Self::Idle,
                Self::Starting { again: true } | Self::Training | Self::Paused => Self::Done,
                Self::Idle | Self::Done => self,
            },
            _ => self,
        }
    }

    /// What it is doing when a run has been asked for.
    pub fn starting(self) -> Self {
        Self::Starting { again: matches!(self, Self::Done | Self::Starting { again: true }) }
    }

    /// Whether a run begins, is under way or waits.
    pub fn runs(self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Training | Self::Paused)
    }

    /// The word that the page's `data-state` shows; `ready` is whether a model and data are loaded.
    pub fn word(self, ready: bool) -> &'static str {
        match self {
            Self::Starting { .. } | Self::Training => "training",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Idle if ready => "ready",
            Self::Idle => "loading",
        }
    }
}

#[cfg(test)]
mod tests {
    use stratune_protocol::{EndReason, Problem, StepReport};

    use super::*;

    #[test]
    fn every_turn() {
        use Activity::*;
        let begun = Event::Begun { config: Box::default(), step: 0, steps: 1, layers: 1, trainable: 1 };
        let step = Event::Step(StepReport::default());
        let ended = Event::Ended { reason: EndReason::Steps, step: 1, best: None, seconds: 1.0 };
        let problem = Event::Problem(Problem::input("x"));
        for (before, event, after) in [
            (Idle, &begun, Training),
            (Done, &begun, Training),
            (Training, &Event::Paused { step: 1 }, Paused),
            (Paused, &step, Paused),
            (Paused, &Event::Resumed { step: 1 }, Training),
            (Paused, &ended, Done),
            (Training, &ended, Done),
            (Idle.starting(), &begun, Training),
            (Idle.starting(), &problem, Idle),
            (Done.starting(), &begun, Training),
            (Done.starting(), &problem, Done),
            (Done.starting().starting(), &problem, Done),
            (Training, &problem, Done),
            (Idle, &problem, Idle),
            (Done, &problem, Done),
            (Idle, &Event::Notice { text: String::new() }, Idle),
        ] {
            assert_eq!(before.after(event), after, "{before:?} {event:?}");
        }
        assert_eq!([Idle.word(false), Idle.word(true), Paused.word(true)], ["loading", "ready", "paused"]);
    }
}
