//! The learning rate of a step.

use stratune_protocol::{Schedule, TrainConfig};

/// The learning rate of step `step` (from 0) of `steps`: a straight climb over the warm-up, then the schedule.
pub fn learning_rate(config: &TrainConfig, step: usize, steps: usize) -> f64 {
    let peak = config.learning_rate;
    if step < config.warmup_steps {
        return peak * (step + 1) as f64 / config.warmup_steps as f64;
    }
    let after = steps.saturating_sub(config.warmup_steps).max(1) as f64;
    let done = ((step - config.warmup_steps) as f64 / after).min(1.0);
    match config.schedule {
        Schedule::Constant => peak,
        Schedule::Linear => peak * (1.0 - done),
        Schedule::Cosine => peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_climbs_to_the_peak_and_stays_within_it() {
        for schedule in [Schedule::Constant, Schedule::Linear, Schedule::Cosine] {
            let config = TrainConfig { schedule, warmup_steps: 4, learning_rate: 0.8, ..TrainConfig::default() };
            let rates: Vec<f64> = (0..30).map(|s| learning_rate(&config, s, 20)).collect();
            assert!((rates[0] - 0.2).abs() < 1e-12 && (rates[3] - 0.8).abs() < 1e-12 && (rates[4] - 0.8).abs() < 1e-12);
            assert!(rates.iter().all(|r| (0.0..=0.8 + 1e-12).contains(r)), "{schedule:?} {rates:?}");
            let falls = schedule != Schedule::Constant;
            assert_eq!(rates[19] < 0.1, falls);
            // Beyond the end it stays at its last value instead of climbing again.
            assert_eq!(rates[29] == 0.0, falls);
        }
    }
}
