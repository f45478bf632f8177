//! Images of another size, as Pillow makes them: bit for bit what `Image.resize` of its versions up to 12 gives, which image
//! processors call. (Version 13 resamples rows first in some shapes, and so rounds otherwise.)
//!
//! A value is a weighted mean of those around its place in the source. Where the image becomes smaller, the weights reach
//! as far as the scale, so that each value of the source counts (antialias). Columns are resampled first and rounded to
//! eight bits, then rows; weights are integers in units of 2⁻²².

use super::{CHANNELS, Pixels};

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// A triangle of weights: Pillow's number 2.
    Bilinear,
    /// A cubic of weights with a = −0.5: Pillow's number 3.
    Bicubic,
}

impl Resample {
    /// How far weights reach in units of the larger pixel.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight at a distance.
    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// Bits behind the point of a weight.
const BITS: u32 = 22;

/// What one value of the result is made of: from which on, and with which weights.
struct Window {
    start: usize,
    weights: Vec<i64>,
}

/// The windows of `to` values over `from`.
fn windows(from: usize, to: usize, resample: Resample) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let support = resample.support() * reach;
    let window = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        // Casts cut off what is behind the point, and what is below zero.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> = (start..end).map(|x| resample.weight((x as f64 - center + 0.5) / reach)).collect();
        let sum: f64 = weights.iter().sum();
        let unit = f64::from(1_u32 << BITS);
        Window { start, weights: weights.iter().map(|weight| (weight / sum * unit).round() as i64).collect() }
    };
    (0..to).map(window).collect()
}

/// The mean of a window over values that are `stride` apart.
fn mean(window: &Window, values: &[u8], stride: usize) -> u8 {
    let values = values.iter().skip(window.start * stride).step_by(stride);
    let sum: i64 = values.zip(&window.weights).map(|(value, weight)| i64::from(*value) * weight).sum();
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// The image in `height` rows of `width` pixels. No side is zero.
pub(crate) fn resize(image: &Pixels, height: usize, width: usize, resample: Resample) -> Pixels {
    let columns = windows(image.width, width, resample);
    let mut wide = Vec::with_capacity(image.height * width * CHANNELS);
    for row in image.values.chunks_exact(image.width * CHANNELS) {
        for window in &columns {
            wide.extend((0..CHANNELS).map(|channel| mean(window, &row[channel..], CHANNELS)));
        }
    }
    let mut values = Vec::with_capacity(height * width * CHANNELS);
    for window in windows(image.height, height, resample) {
        values.extend((0..width * CHANNELS).map(|column| mean(&window, &wide[column..], width * CHANNELS)));
    }
    Pixels { height, width, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = Pixels { height: 5, width: 7, values: (0..105).map(|v| (v * 37 % 256) as u8).collect() };
        for resample in [Resample::Bilinear, Resample::Bicubic] {
            assert_eq!(resize(&image, 5, 7, resample), image);
        }
    }

    #[test]
    fn weights_are_shares() {
        for (from, to) in [(1, 1), (1, 16), (9, 16), (40, 16), (8192, 1), (16, 17)] {
            for resample in [Resample::Bilinear, Resample::Bicubic] {
                for (at, window) in windows(from, to, resample).iter().enumerate() {
                    let sum: i64 = window.weights.iter().sum();
                    let off = (sum - (1 << BITS)).unsigned_abs() as usize;
                    assert!(off <= window.weights.len(), "{from} to {to} at {at}: {sum}");
                    assert!(window.start + window.weights.len() <= from);
                }
            }
        }
    }
}
