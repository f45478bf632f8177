//! Drawing blocks by weight, without putting them back.

use rand::{Rng, RngExt};

/// Keeps the backward pass short: of the lowest blocks, at most one is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Blocks below this number count as lowest.
    pub below: usize,
}

/// How many of the lowest blocks a draw of `count` may take when `others` are not among them: one, or as many as it takes.
pub(crate) fn most_low(others: usize, count: usize) -> usize {
    count.saturating_sub(others).max(1)
}

/// Draws `count` different blocks, one after the other, each with probability proportional to its weight among those
/// left; in rising order. The distribution of PyTorch's `multinomial(replacement=False)`.
///
/// With a floor, the other lowest blocks leave the draw once one of them is drawn, as long as enough others remain; so
/// every block keeps a chance.
pub fn draw(weights: &[f64], count: usize, floor: Option<Floor>, rng: &mut impl Rng) -> Vec<usize> {
    let mut left: Vec<usize> = (0..weights.len()).collect();
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count && !left.is_empty() {
        let total: f64 = left.iter().map(|i| weights[*i]).sum();
        let mut at = rng.random::<f64>() * total;
        // Rounding may leave `at` just above the last weight: the last block it is, then.
        let place = left
            .iter()
            .position(|i| {
                at -= weights[*i];
                at < 0.0
            })
            .unwrap_or(left.len() - 1);
        let block = left.remove(place);
        drawn.push(block);
        if let Some(Floor { below }) = floor.filter(|f| block < f.below) {
            let others = left.iter().filter(|i| **i >= below).count();
            if others >= count - drawn.len() {
                left.retain(|i| *i >= below);
            }
        }
    }
    drawn.sort_unstable();
    drawn
}

#[cfg(test)]
mod tests {
    use stratune_protocol::draws;

    use super::*;

    /// χ² of the inclusion counts against uniform; 31 degrees of freedom, the 99.9 % point is 61.1.
    #[test]
    fn equal_weights_draw_uniformly() {
        let (layers, count, trials) = (32, 8, 4000);
        let mut counts = vec![0.0; layers];
        for trial in 0..trials {
            let drawn = draw(&vec![0.5; layers], count, None, &mut draws(7, "test", [trial, 0]));
            assert_eq!(drawn.len(), count);
            assert!(drawn.windows(2).all(|w| w[0] < w[1]));
            drawn.iter().for_each(|i| counts[*i] += 1.0);
        }
        let p = count as f64 / layers as f64;
        let (expected, variance) = (trials as f64 * p, trials as f64 * p * (1.0 - p));
        let chi: f64 = counts.iter().map(|c| (c - expected) * (c - expected) / variance).sum();
        assert!(chi < 61.1, "χ² {chi}");
    }

    #[test]
    fn weight_decides() {
        let weights = [0.9, 0.1, 0.1, 0.1];
        let hits = (0..1000).filter(|t| draw(&weights, 1, None, &mut draws(1, "test", [*t, 0])) == [0]).count();
        // 0.75 expected, three standard deviations are 0.04.
        assert!((710..790).contains(&hits), "{hits}");
    }

    #[test]
    fn the_floor_lets_one_low_block_through_and_excludes_none() {
        let mut seen = [false; 8];
        for trial in 0..500 {
            let drawn = draw(&[0.5; 8], 3, Some(Floor { below: 2 }), &mut draws(3, "test", [trial, 0]));
            assert_eq!(drawn.len(), 3);
            assert!(drawn.iter().filter(|i| **i < 2).count() <= 1, "{drawn:?}");
            drawn.iter().for_each(|i| seen[*i] = true);
        }
        assert_eq!(seen, [true; 8]);
        // Where the others do not suffice, the floor gives way.
        assert_eq!(draw(&[0.5; 3], 3, Some(Floor { below: 2 }), &mut draws(3, "test", [0, 0])), [0, 1, 2]);
    }
}
