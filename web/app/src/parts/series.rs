//! What a long run of numbers becomes before it is drawn: smoothed, and thinned to what a screen can show.

/// A value at a step.
pub type Point = (usize, f64);

/// A moving average over about `span` points on either side. Looking both ways keeps it in the middle of the points; at
/// the ends the side that is missing is left out.
pub fn smooth(points: &[Point], span: f64) -> Vec<Point> {
    let finite: Vec<Point> = points.iter().copied().filter(|(_, v)| v.is_finite()).collect();
    let keep = 1.0 - 2.0 / (span.max(1.0) + 1.0);
    let before = gather(finite.iter(), keep);
    let mut after = gather(finite.iter().rev(), keep);
    after.reverse();
    let both = before.into_iter().zip(after);
    // The point itself is in both sums.
    finite.iter().zip(both).map(|(p, (b, a))| (p.0, (b.0 + a.0 - p.1) / (b.1 + a.1 - 1.0))).collect()
}

/// For each point the sum of all so far, fading by `keep` with each step, and the sum of their weights.
fn gather<'a>(points: impl Iterator<Item = &'a Point>, keep: f64) -> Vec<(f64, f64)> {
    let add = |sum: &mut (f64, f64), p: &Point| {
        *sum = (keep * sum.0 + p.1, keep * sum.1 + 1.0);
        Some(*sum)
    };
    points.scan((0.0, 0.0), add).collect()
}

/// The span that suits a run of `n` points: calm, and still quick enough to follow it.
pub fn span_for(n: usize) -> f64 {
    (n as f64 / 16.0).clamp(4.0, 50.0)
}

/// The lowest and highest value of each of `bins` equal stretches of `0..=last`; empty stretches are left out. Nothing
/// that stands out is lost, however long the run.
pub fn extremes(points: &[Point], last: usize, bins: usize) -> Vec<(usize, f64, f64)> {
    let mut out: Vec<(usize, f64, f64)> = Vec::new();
    for &(step, v) in points.iter().filter(|(_, v)| v.is_finite()) {
        let bin = (step * bins.max(1) / (last + 1)).min(bins.saturating_sub(1));
        match out.last_mut() {
            Some((b, low, high)) if *b == bin => (*low, *high) = (low.min(v), high.max(v)),
            _ => out.push((bin, v, v)),
        }
    }
    out
}

/// The point whose step is nearest to `step`; points lie in order of their steps.
pub fn nearest(points: &[Point], step: f64) -> Option<Point> {
    let after = points.partition_point(|p| (p.0 as f64) < step);
    let candidates = [after.checked_sub(1).and_then(|i| points.get(i)), points.get(after)];
    let far = |p: &Point| (p.0 as f64 - step).abs();
    candidates.into_iter().flatten().copied().min_by(|a, b| far(a).total_cmp(&far(b)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_a_course_and_takes_the_noise() {
        let flat: Vec<Point> = (0..50).map(|i| (i, 2.0)).collect();
        assert!(smooth(&flat, 10.0).iter().all(|p| (p.1 - 2.0).abs() < 1e-12));
        let slope: Vec<Point> = (0..200).map(|i| (i, i as f64)).collect();
        assert!((smooth(&slope, 10.0)[100].1 - 100.0).abs() < 1e-6, "it lags");
        let noisy: Vec<Point> = (0..200).map(|i| (i, if i % 2 == 0 { 1.0 } else { -1.0 })).collect();
        assert!(smooth(&noisy, 20.0).iter().skip(50).all(|p| p.1.abs() < 0.2));
        assert_eq!(smooth(&[(1, f64::NAN), (2, 3.0)], 5.0), vec![(2, 3.0)]);
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let points: Vec<Point> = (0..1000).map(|i| (i, if i == 437 { 99.0 } else { i as f64 / 1000.0 })).collect();
        let thin = extremes(&points, 999, 10);
        assert_eq!(thin.len(), 10);
        assert_eq!(thin[4], (4, 0.4, 99.0));
        assert_eq!(extremes(&[(0, f64::INFINITY)], 9, 5), vec![]);
        assert_eq!(extremes(&[(9, 1.0)], 9, 5), vec![(4, 1.0, 1.0)]);
    }

    #[test]
    fn the_nearest_point() {
        let points = [(1, 0.1), (5, 0.5), (9, 0.9)];
        for (step, found) in [(-3.0, 1), (2.9, 1), (3.1, 5), (8.0, 9), (50.0, 9)] {
            assert_eq!(nearest(&points, step).unwrap().0, found, "{step}");
        }
        assert_eq!(nearest(&[], 1.0), None);
    }
}
