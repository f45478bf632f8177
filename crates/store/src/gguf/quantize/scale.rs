//! The search for a scale: numbers become `scale · code`, codes from `-zero` to `zero - 1`.

use super::largest;
use super::super_block::{round, sum};

/// What is smaller than this is 0.
const NOTHING: f32 = 1e-15;

/// The scale with the least `Σ x² (x − scale · code)²` among those of 19 tries, each of which rounds with the largest number
/// at another place near `-zero` and then takes the scale that is best for its codes.
///
/// For given codes that scale is `Σ x² x code / Σ x² code²`, and what it takes off the error is `(Σ x² x code)² / Σ x² code²`.
pub(super) fn search<const N: usize>(x: &[f32; N], zero: f32) -> f32 {
    let largest = largest(x);
    if largest.abs() < NOTHING {
        return 0.0;
    }
    let weight = x.map(|x| x * x);
    let (mut scale, mut gain) = (0.0, 0.0);
    // The plain place first, which wins a tie.
    for tenths in [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9] {
        let per_step = -(zero + 0.1 * tenths as f32) / largest;
        let code = x.map(|x| round((x * per_step).clamp(-zero, zero - 1.0)));
        let along = sum::<N>(|i| weight[i] * x[i] * code[i]);
        let length = sum::<N>(|i| weight[i] * code[i] * code[i]);
        if length > 0.0 && along * along > gain * length {
            scale = along / length;
            gain = along * scale;
        }
    }
    scale
}
