//! Blocks of 256 numbers in two levels: scales of their parts are whole numbers, times a scale of the whole.

use half::f16;

use super::{half, inverse, largest, scale, scale_and_minimum};

type Block = [f32; 256];

/// Eight parts of 32 with a scale and a minimum of 6 bits each, and 4 bits a number.
pub(super) fn q4_k(x: &Block, out: &mut Vec<u8>) {
    let codes = with_minimums(x, 15.0, -10..=10, out);
    four_bits(&codes, out);
}

/// The same with a fifth bit of each number.
pub(super) fn q5_k(x: &Block, out: &mut Vec<u8>) {
    let codes = with_minimums(x, 31.0, -5..=10, out);
    let mut fifth = [0; 32];
    for (at, code) in codes.iter().enumerate() {
        fifth[at % 32] |= (code >> 4) << (at / 32);
    }
    out.extend(fifth);
    four_bits(&codes, out);
}

/// Sixteen parts of 16 with a scale of 8 bits each, and 6 bits a number.
pub(super) fn q6_k(x: &Block, out: &mut Vec<u8>) {
    let parts = x.as_chunks::<16>().0;
    let mut found = [0.0; 16];
    for (found, part) in found.iter_mut().zip(parts) {
        *found = scale::search(part, 32.0);
    }
    // The largest becomes −128, the one whole number that has no opposite.
    let of_all = f16::from_f32(largest(&found) / -128.0).to_f32();
    let per_step = inverse(of_all);
    let scales = found.map(|scale| round((scale * per_step).clamp(-128.0, 127.0)) as i8);
    let (mut low, mut high) = ([0_u8; 128], [0_u8; 64]);
    for (part, (x, scale)) in parts.iter().zip(scales).enumerate() {
        let per_step = inverse(of_all * f32::from(scale));
        for (i, x) in x.iter().enumerate() {
            let code = (round((x * per_step).clamp(-32.0, 31.0)) + 32.0) as u8;
            let at = 16 * part + i;
            let (side, quarter, place) = (at / 128, at / 32 % 4, at % 32);
            low[64 * side + 32 * (quarter & 1) + place] |= (code & 15) << (4 * (quarter / 2));
            high[32 * side + place] |= (code >> 4) << (2 * quarter);
        }
    }
    out.extend(low);
    out.extend(high);
    out.extend(scales.map(|scale| scale as u8));
    half(of_all, out);
}

/// Writes the scales and minimums of eight parts, and gives the codes, which are at most `most`.
fn with_minimums(x: &Block, most: f32, ends: scale_and_minimum::Ends, out: &mut Vec<u8>) -> [u8; 256] {
    let parts = x.as_chunks::<32>().0;
    let mut fits = [scale_and_minimum::Fit::default(); 8];
    for (fit, part) in fits.iter_mut().zip(parts) {
        *fit = scale_and_minimum::search(part, most, ends.clone());
    }
    let (scale, scales) = six_bits(fits.map(|fit| fit.scale));
    let (minimum, minimums) = six_bits(fits.map(|fit| fit.minimum));
    half(scale, out);
    half(minimum, out);
    let mut packed = [0_u8; 12];
    for (j, (scale, minimum)) in scales.into_iter().zip(minimums).enumerate() {
        match j {
            0..4 => (packed[j], packed[j + 4]) = (packed[j] | scale, packed[j + 4] | minimum),
            _ => {
                packed[j + 4] = scale & 15 | minimum << 4;
                packed[j - 4] |= scale >> 4 << 6;
                packed[j] |= minimum >> 4 << 6;
            }
        }
    }
    out.extend(packed);

    // Codes are chosen anew, for the scales and minimums that the block says.
    let mut codes = [0; 256];
    for (part, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let per_step = inverse(scale * f32::from(scales[part]));
        let minimum = minimum * f32::from(minimums[part]);
        *codes = parts[part].map(|x| round(((x + minimum) * per_step).clamp(0.0, most)) as u8);
    }
    codes
}

/// Numbers that are not below 0 as whole ones of 6 bits, and what they are multiplied by, which an f16 holds.
fn six_bits(numbers: [f32; 8]) -> (f32, [u8; 8]) {
    let scale = f16::from_f32(largest(&numbers) / 63.0).to_f32();
    let per_step = inverse(scale);
    (scale, numbers.map(|x| round((x * per_step).min(63.0)) as u8))
}

/// Each 32 bytes hold 32 codes in their low halves and the next 32 in their high ones.
fn four_bits(codes: &[u8; 256], out: &mut Vec<u8>) {
    for pair in codes.chunks_exact(64) {
        let (first, second) = pair.split_at(32);
        out.extend(first.iter().zip(second).map(|(low, high)| low & 15 | high << 4));
    }
}

/// The nearest whole number, the even one of two; of numbers below 2²². Without a call, so that loops of it become vectors.
pub(super) fn round(x: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0;
    x + WHOLE - WHOLE
}

/// A sum of `N` terms in eight lanes, which the compiler makes a vector.
pub(super) fn sum<const N: usize>(term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    for start in (0..N).step_by(8) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    lanes.iter().sum()
}
