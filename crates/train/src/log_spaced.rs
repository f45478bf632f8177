//! Log-spaced steps.

/// Whether a step is 1, 2, 5, 10, 20, 50 …
pub fn log_spaced(step: usize) -> bool {
    step > 0 && log_spaced_until(step) > log_spaced_until(step - 1)
}

/// How many of 1, 2, 5, 10, 20, 50 … are at most `step`.
pub fn log_spaced_until(step: usize) -> usize {
    let units = std::iter::successors(Some(1_usize), |unit| unit.checked_mul(10));
    let all = units.flat_map(|unit| [1, 2, 5].into_iter().filter_map(move |n: usize| unit.checked_mul(n)));
    all.take_while(|spaced| *spaced <= step).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_log_spaced() {
        let steps: Vec<usize> = (1..=1000).filter(|s| log_spaced(*s)).collect();
        assert_eq!(steps, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]);
        assert!(!log_spaced(0) && !log_spaced(usize::MAX));
        assert_eq!([0, 1, 4, 5, 1000].map(log_spaced_until), [0, 1, 2, 3, 10]);
    }
}
