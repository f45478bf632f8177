//! How long the next run would take, as far as it has been timed.

use stratune_protocol::Pace;

use super::settings::Settings;

/// How long the next run would take.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Timing {
    /// Nobody has asked.
    #[default]
    Unknown,
    /// Steps of such a run are being timed.
    Asked(Box<Settings>),
    /// Steps of such a run have been timed.
    Told(Box<Settings>, Pace),
}

impl Timing {
    /// Takes in the answer.
    pub fn hear(&mut self, pace: Pace) {
        if let Self::Asked(config) = std::mem::take(self) {
            *self = Self::Told(config, pace);
        }
    }

    /// The pace of a run with these settings, if that is what was timed.
    pub fn of(&self, config: &Settings) -> Option<Pace> {
        match self {
            Self::Told(timed, pace) if **timed == *config => Some(*pace),
            _ => None,
        }
    }

    /// Whether an answer is awaited.
    pub fn is_asked(&self) -> bool {
        matches!(self, Self::Asked(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::settings::tests::settings;

    #[test]
    fn a_pace_belongs_to_the_settings_it_was_asked_for() {
        let config = settings(json!({ "train": { "batch_size": 8 } }));
        let pace = Pace { steps: 9, step: 1.0, ..Pace::default() };
        let mut timing = Timing::default();
        timing.hear(pace);
        assert_eq!(timing, Timing::Unknown, "nobody asked");
        timing = Timing::Asked(Box::new(config.clone()));
        assert!(timing.is_asked() && timing.of(&config).is_none());
        timing.hear(pace);
        assert_eq!((timing.is_asked(), timing.of(&config)), (false, Some(pace)));
        let mut other = config;
        other.put("train.batch_size", json!(1));
        assert_eq!(timing.of(&other), None);
    }
}
