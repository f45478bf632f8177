//! Whether it fits.

use serde::Serialize;
use stratune_protocol::{Bytes, Limits, MemoryPlan, Remedy, Verdict};
use stratune_train::RunConfig;

use super::{Conditions, Forecast};

/// Share of the memory that a forecast may take and still be said to fit: it is right within a third or so.
const EASE: f64 = 0.7;

impl Forecast {
    /// Whether this fits into `limits`.
    pub fn verdict(&self, limits: &Limits) -> Verdict {
        if limits.buffer.is_some_and(|most| self.largest > most) {
            return Verdict::WontFit;
        }
        match limits.memory {
            None => Verdict::Unknown,
            Some(memory) if self.bytes() as f64 <= EASE * memory as f64 => Verdict::Fits,
            Some(memory) if self.bytes() <= memory => Verdict::Tight,
            Some(_) => Verdict::WontFit,
        }
    }
}

/// What is to be said of a run before it begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryReport {
    /// Its memory.
    pub forecast: Forecast,
    /// What there is.
    pub limits: Limits,
    /// Whether the one fits into the other.
    pub verdict: Verdict,
    /// What would help, the mildest first.
    pub remedies: Vec<Remedy>,
    /// What would spare a fifth, whatever the device told.
    pub savings: Vec<Remedy>,
}

impl Conditions<'_> {
    /// What is to be said of a run with this configuration.
    pub fn memory_report(&self, config: &RunConfig) -> MemoryReport {
        let (forecast, limits) = (self.forecast(config), self.device.limits);
        let (remedies, savings) = (self.remedies(config), self.savings(config));
        MemoryReport { forecast, limits, verdict: forecast.verdict(&limits), remedies, savings }
    }
}

impl MemoryReport {
    /// The verdict in a few words, such as `Fits: 0.6 GB of 4.3 GB`.
    pub fn sentence(&self) -> String {
        let need = Bytes(self.forecast.bytes());
        let of = |verdict: &str| match (self.limits.buffer, self.limits.memory) {
            (Some(most), _) if self.forecast.largest > most => {
                format!(
                    "{verdict}: one buffer of {}, and the device takes {}",
                    Bytes(self.forecast.largest),
                    Bytes(most)
                )
            }
            (_, Some(memory)) => format!("{verdict}: {need} of {}", Bytes(memory)),
            (_, None) => format!("{verdict}: {need}"),
        };
        match self.verdict {
            Verdict::Fits => of("Fits"),
            Verdict::Tight => of("Tight"),
            Verdict::WontFit => of("Won't fit"),
            Verdict::Unknown => format!("Needs {need}; the device does not tell how much it has"),
        }
    }
}

impl From<MemoryReport> for MemoryPlan {
    fn from(memory_report: MemoryReport) -> Self {
        Self {
            bytes: memory_report.forecast.bytes(),
            parts: memory_report.forecast.parts().map(|(name, bytes)| (name.to_string(), bytes)).to_vec(),
            verdict: memory_report.verdict,
            sentence: memory_report.sentence(),
            remedies: memory_report.remedies,
            savings: memory_report.savings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let forecast = Forecast { weights: 60, work: 10, largest: 50, ..Forecast::default() };
        let of = |memory, buffer| forecast.verdict(&Limits { memory, buffer });
        for (memory, verdict) in [
            (101, Verdict::Fits),
            (100, Verdict::Fits),
            (99, Verdict::Tight),
            (70, Verdict::Tight),
            (69, Verdict::WontFit),
        ] {
            assert_eq!(of(Some(memory), None), verdict, "{memory}");
        }
        assert_eq!(
            (of(None, None), of(None, Some(50)), of(None, Some(49))),
            (Verdict::Unknown, Verdict::Unknown, Verdict::WontFit)
        );
        assert_eq!(of(Some(1000), Some(49)), Verdict::WontFit);
    }

    #[test]
    fn in_words() {
        let say = |memory, buffer| {
            let forecast = Forecast { weights: 2_000_000, largest: 1_500_000, ..Forecast::default() };
            let limits = Limits { memory, buffer };
            let verdict = forecast.verdict(&limits);
            MemoryReport { forecast, limits, verdict, remedies: Vec::new(), savings: Vec::new() }.sentence()
        };
        assert_eq!(say(Some(4_000_000), None), "Fits: 2.0 MB of 4.0 MB");
        assert_eq!(say(Some(2_500_000), None), "Tight: 2.0 MB of 2.5 MB");
        assert_eq!(say(Some(1_000_000), None), "Won't fit: 2.0 MB of 1.0 MB");
        assert_eq!(say(None, Some(1_000_000)), "Won't fit: one buffer of 1.5 MB, and the device takes 1.0 MB");
        assert_eq!(say(None, None), "Needs 2.0 MB; the device does not tell how much it has");
    }
}
