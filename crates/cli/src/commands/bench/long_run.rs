//! Whether a run slows down or fills memory the longer it goes.

use std::fmt;

use serde::Serialize;

use super::series::{mean, mib};

/// Fewest steps of which a tenth says anything.
const MIN: usize = 50;

/// What was held after a step, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// By the device: the pool of a GPU, the heap of a CPU.
    pub device: u64,
    /// By the whole process, where the system says.
    pub process: Option<u64>,
}

/// The first tenth of the steps beside the last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LongRun {
    /// Mean seconds of a step in each.
    pub step_seconds: [f64; 2],
    /// How much slower the last is, as a share of the first's speed.
    pub slowdown: f64,
    /// Bytes of the device after each.
    pub device_bytes: [u64; 2],
    /// Bytes of the process after each.
    pub process_bytes: Option<[u64; 2]>,
}

impl LongRun {
    /// `None` of too few steps.
    pub fn of(seconds: &[f64], held: &[Held]) -> Option<Self> {
        if seconds.len() < MIN {
            return None;
        }
        let tenth = seconds.len() / 10;
        let first = mean(&seconds[..tenth]);
        let last = mean(&seconds[seconds.len() - tenth..]);
        let (then, now) = (held.get(tenth - 1)?, held.last()?);
        Some(Self {
            step_seconds: [first, last],
            slowdown: 1.0 - first / last,
            device_bytes: [then.device, now.device],
            process_bytes: then.process.zip(now.process).map(|(then, now)| [then, now]),
        })
    }
}

impl fmt::Display for LongRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, last] = self.step_seconds.map(|s| 1e3 * s);
        let [then, now] = self.device_bytes.map(|b| mib(b as f64));
        write!(f, "first tenth {first:.2} ms a step, last {last:.2}: slowdown {:.1} %; ", 100.0 * self.slowdown)?;
        write!(f, "MiB after the first tenth and at the end: device {then:.1} and {now:.1}")?;
        if let Some([then, now]) = self.process_bytes.map(|p| p.map(|b| mib(b as f64))) {
            write!(f, ", process {then:.1} and {now:.1}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 100 steps, the last ten take twice as long and each of which leaves 2 bytes behind.
    #[test]
    fn a_slower_end_and_a_leak_are_seen() {
        let seconds: Vec<f64> = (0..100).map(|i| if i < 90 { 1.0 } else { 2.0 }).collect();
        let held: Vec<Held> = (1..=100).map(|i| Held { device: 2 * i, process: Some(1000 + i) }).collect();
        let long = LongRun::of(&seconds, &held).unwrap();
        assert_eq!((long.step_seconds, long.slowdown), ([1.0, 2.0], 0.5));
        assert_eq!((long.device_bytes, long.process_bytes), ([20, 200], Some([1010, 1100])));
        assert_eq!(LongRun::of(&seconds[..MIN - 1], &held), None);
    }
}
