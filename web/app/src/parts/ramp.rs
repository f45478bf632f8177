//! The colour ramp of the strata: even steps of lightness from deep blue to pale yellow.
//!
//! Lightness alone carries the order, so the ramp reads the same in grey and to a colour-blind eye. It is computed in
//! Oklab, where equal distances look equal.

/// An sRGB colour.
pub type Rgb = [u8; 3];

/// Lightness, chroma and hue (degrees) at evenly spaced places; between them the ramp is straight.
const STOPS: [[f64; 3]; 5] =
    [[0.29, 0.115, 272.0], [0.455, 0.095, 248.0], [0.62, 0.088, 196.0], [0.785, 0.135, 142.0], [0.95, 0.125, 104.0]];

/// The colour of `share`, 0 to 1. On a dark ground more is lighter; on a light ground more is darker.
pub fn colour(share: f64, dark_ground: bool) -> Rgb {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    rgb(at(if dark_ground { share } else { 1.0 - share }))
}

/// A colour as CSS writes it.
pub fn css([r, g, b]: Rgb) -> String {
    format!("rgb({r} {g} {b})")
}

/// Whether black is easier to see on `colour` than white.
pub fn is_light([r, g, b]: Rgb) -> bool {
    let linear = |c: u8| (f64::from(c) / 255.0).powf(2.2);
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.2
}

fn at(t: f64) -> [f64; 3] {
    let place = t * (STOPS.len() - 1) as f64;
    let i = (place as usize).min(STOPS.len() - 2);
    let part = place - i as f64;
    std::array::from_fn(|k| STOPS[i][k] + part * (STOPS[i + 1][k] - STOPS[i][k]))
}

/// Oklab's definition: lightness, chroma, hue to linear light.
fn linear_light([lightness, chroma, hue]: [f64; 3]) -> [f64; 3] {
    let (a, b) = (chroma * hue.to_radians().cos(), chroma * hue.to_radians().sin());
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s,
    ]
}

fn rgb(lch: [f64; 3]) -> Rgb {
    linear_light(lch).map(|c| {
        let c = c.clamp(0.0, 1.0);
        let c = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
        (255.0 * c).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_and_black_are_what_oklab_says() {
        assert_eq!(rgb([1.0, 0.0, 0.0]), [255; 3]);
        assert_eq!(rgb([0.0, 0.0, 0.0]), [0; 3]);
    }

    #[test]
    fn every_colour_can_be_shown() {
        for i in 0..=100 {
            let light = linear_light(at(f64::from(i) / 100.0));
            assert!(light.iter().all(|&c| (-0.002..=1.002).contains(&c)), "{i} {light:?}");
        }
    }

    #[test]
    fn lightness_rises_in_even_steps() {
        let lightness: Vec<f64> = (0..=20).map(|i| at(f64::from(i) / 20.0)[0]).collect();
        for pair in lightness.windows(2) {
            assert!((pair[1] - pair[0] - 0.033).abs() < 1e-9, "{pair:?}");
        }
    }

    #[test]
    fn the_ground_turns_the_ramp() {
        assert_eq!(colour(0.0, true), colour(1.0, false));
        assert!(is_light(colour(1.0, true)) && !is_light(colour(0.0, true)));
        assert_eq!(colour(f64::NAN, true), colour(0.0, true));
        assert_eq!(css([1, 2, 3]), "rgb(1 2 3)");
    }
}
