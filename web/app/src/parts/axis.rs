//! Axes: how far they reach, where their ticks stand, and where a value falls on them.

/// How many steps the time axis shows. It doubles when it is full, up to the whole run, so that what is drawn stays
/// where it is nearly always and a long run's beginning can be read.
pub fn horizon(step: usize, steps: usize) -> usize {
    let steps = steps.max(step).max(1);
    let mut shown = steps;
    while shown / 2 > step && shown / 2 >= 40 {
        shown = shown.div_ceil(2);
    }
    shown
}

/// An axis of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Lowest value shown.
    pub low: f64,
    /// Highest value shown.
    pub high: f64,
    /// Whether equal distances are equal ratios.
    pub log: bool,
}

impl Axis {
    /// An axis that holds every finite value, with a little air. `None` without values.
    pub fn around(values: impl Iterator<Item = f64>, log: bool) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.filter(|v| v.is_finite() && (!log || *v > 0.0)) {
            (low, high) = (low.min(v), high.max(v));
        }
        if low > high {
            return None;
        }
        Some(if log {
            Self { low: low / 1.12, high: high * 1.12, log }
        } else {
            let air = ((high - low) * 0.06).max(high.abs() * 0.01).max(1e-9);
            Self { low: if low >= 0.0 { (low - air).max(0.0) } else { low - air }, high: high + air, log }
        })
    }

    /// Where `value` falls: 0 at the low end, 1 at the high end.
    pub fn place(&self, value: f64) -> f64 {
        let f = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        (f(value) - f(self.low)) / (f(self.high) - f(self.low))
    }

    /// About `n` round values inside.
    pub fn ticks(&self, n: usize) -> Vec<f64> {
        if self.log {
            let sets: [&[f64]; 3] = [&[1.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]];
            let fits = |ticks: &Vec<f64>| ticks.len() >= 3;
            if let Some(ticks) = sets.into_iter().map(|s| log_steps(s, self.low, self.high)).find(fits) {
                return ticks;
            }
        }
        linear_ticks(self.low, self.high, n)
    }
}

fn log_steps(within_decade: &[f64], low: f64, high: f64) -> Vec<f64> {
    let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    decades
        .flat_map(|d| within_decade.iter().map(move |m| m * 10f64.powi(d)))
        .filter(|v| (low..=high).contains(v))
        .collect()
}

/// About `n` round values from `low` to `high`.
pub fn linear_ticks(low: f64, high: f64, n: usize) -> Vec<f64> {
    let width = high - low;
    if !(width.is_finite() && width > 0.0) {
        return Vec::new();
    }
    let rough = width / n.max(1) as f64;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * decade);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's text, with no more digits than `ticks` need to differ.
pub fn label(value: f64, ticks: &[f64]) -> String {
    // Zero has no digits of its own.
    let own = if value == 0.0 { f64::INFINITY } else { value.abs().max(1e-12) };
    let gap = ticks.windows(2).map(|w| (w[1] - w[0]).abs()).fold(own, f64::min);
    let digits = (-gap.log10() + 1e-9).ceil().clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_time_axis_doubles_and_ends_at_the_run() {
        for (step, steps, shown) in [
            (0, 400, 50),
            (49, 400, 50),
            (50, 400, 100),
            (150, 400, 200),
            (210, 400, 400),
            (400, 400, 400),
            (3, 20, 20),
            (0, 0, 1),
            (7, 0, 7),
        ] {
            assert_eq!(horizon(step, steps), shown, "{step}/{steps}");
        }
    }

    #[test]
    fn values_fall_inside() {
        let axis = Axis::around([0.5, 2.5, f64::NAN].into_iter(), false).unwrap();
        assert!(axis.place(0.5) > 0.0 && axis.place(2.5) < 1.0);
        let log = Axis::around([0.1, 10.0, 0.0].into_iter(), true).unwrap();
        assert!((log.place(1.0) - 0.5).abs() < 1e-9);
        assert_eq!(Axis::around([f64::NAN].into_iter(), false), None);
        let flat = Axis::around([1.0].into_iter(), false).unwrap();
        assert!(flat.low < 1.0 && flat.high > 1.0);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(linear_ticks(0.0, 10.0, 5), vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear_ticks(3.0, 3.0, 5), Vec::<f64>::new());
        let axis = Axis { low: 0.04, high: 3.0, log: true };
        assert_eq!(axis.ticks(5), [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]);
        assert_eq!(Axis { low: 0.69, high: 3.2, log: true }.ticks(5).len(), 5);
        let narrow = Axis { low: 1.1, high: 1.4, log: true };
        assert!(narrow.ticks(4).len() >= 2);
        assert_eq!(label(0.2, &[0.0, 0.2, 0.4]), "0.2");
        assert_eq!(label(20.0, &[0.0, 20.0, 40.0]), "20");
        assert_eq!(label(0.0, &[0.0, 2.0, 4.0]), "0");
        assert_eq!(label(0.0, &[0.0]), "0");
        assert_eq!(label(0.05, &[0.05, 0.1, 0.2]), "0.05");
    }
}
