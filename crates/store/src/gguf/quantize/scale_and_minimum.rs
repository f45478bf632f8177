//! The search for a scale and a minimum: numbers become `scale · code − minimum`, codes from 0 to `most`.

use super::super_block::{round, sum};

/// How a block of 32 is made of codes; neither is below 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fit {
    pub scale: f32,
    pub minimum: f32,
}

/// Where codes may end, in tenths of a step around `most`: a range that is too short cuts off the farthest numbers, and one
/// that is too long leaves codes unused.
pub(super) type Ends = std::ops::RangeInclusive<i16>;

/// The fit with the least `Σ w (x − scale · code + minimum)²` among those of some tries, each of which rounds with the range
/// of numbers over another length and then takes scale and minimum that are best for its codes, by weighted linear
/// regression. The weight w of a number is its magnitude and the root of the block's mean square.
pub(super) fn search(x: &[f32; 32], most: f32, ends: Ends) -> Fit {
    let mean_square = sum::<32>(|i| x[i] * x[i]) / 32.0;
    let weight = x.map(|x| mean_square.sqrt() + x.abs());
    let (mut least, greatest) = x.iter().fold((0.0_f32, x[0]), |(least, most), x| (least.min(*x), most.max(*x)));
    let range = greatest - least;
    if range <= 0.0 {
        return Fit { scale: 0.0, minimum: -least };
    }
    let sum_w = sum::<32>(|i| weight[i]);
    let sum_wx = sum::<32>(|i| weight[i] * x[i]);
    let error = |code: &[f32; 32], scale: f32, least: f32| {
        sum::<32>(|i| {
            let off = scale * code[i] + least - x[i];
            weight[i] * off * off
        })
    };
    let codes = |per_step: f32, least: f32| x.map(|x| round(((x - least) * per_step).clamp(0.0, most)));

    let mut scale = range / most;
    let mut smallest = error(&codes(most / range, least), scale, least);
    for tenths in ends {
        let code = codes((most + 0.1 * f32::from(tenths)) / range, least);
        let sum_wc = sum::<32>(|i| weight[i] * code[i]);
        let sum_wcc = sum::<32>(|i| weight[i] * code[i] * code[i]);
        let sum_wcx = sum::<32>(|i| weight[i] * code[i] * x[i]);
        let determinant = sum_w * sum_wcc - sum_wc * sum_wc;
        if determinant <= 0.0 {
            continue;
        }
        let mut fitted = (sum_w * sum_wcx - sum_wx * sum_wc) / determinant;
        let mut lowest = (sum_wcc * sum_wx - sum_wc * sum_wcx) / determinant;
        if lowest > 0.0 {
            (fitted, lowest) = (sum_wcx / sum_wcc, 0.0);
        }
        let error = error(&code, fitted, lowest);
        if error < smallest {
            (smallest, scale, least) = (error, fitted, lowest);
        }
    }
    Fit { scale, minimum: -least }
}
