//! Blocks of 32 numbers whose scale follows from the largest of them.

use super::{half, inverse, largest};

type Block = [f32; 32];

/// A scale and a whole number of 8 bits each, at most 127 away from 0.
pub(super) fn q8_0(x: &Block, out: &mut Vec<u8>) {
    let scale = largest(x).abs() / 127.0;
    let per_step = inverse(scale);
    half(scale, out);
    out.extend(x.iter().map(|x| (x * per_step).round() as i8 as u8));
}

/// A scale and 4 bits.
pub(super) fn q4_0(x: &Block, out: &mut Vec<u8>) {
    let (scale, codes) = around_zero(x, 8);
    half(scale, out);
    nibbles(&codes, out);
}

/// A scale and 5 bits.
pub(super) fn q5_0(x: &Block, out: &mut Vec<u8>) {
    let (scale, codes) = around_zero(x, 16);
    half(scale, out);
    fifth_bits(&codes, out);
    nibbles(&codes, out);
}

/// A scale, a minimum and 4 bits.
pub(super) fn q4_1(x: &Block, out: &mut Vec<u8>) {
    let codes = above_minimum(x, 15, out);
    nibbles(&codes, out);
}

/// A scale, a minimum and 5 bits.
pub(super) fn q5_1(x: &Block, out: &mut Vec<u8>) {
    let codes = above_minimum(x, 31, out);
    fifth_bits(&codes, out);
    nibbles(&codes, out);
}

/// A scale that makes the largest number `-zero`, the one whole number that has no opposite; and codes, in which 0 is `zero`.
fn around_zero(x: &Block, zero: u8) -> (f32, [u8; 32]) {
    let zero = f32::from(zero);
    let scale = largest(x) / -zero;
    let per_step = inverse(scale);
    // Conversion cuts off what is behind the point.
    (scale, x.map(|x| (x * per_step + (zero + 0.5)).min(2.0 * zero - 1.0) as u8))
}

/// Writes scale and minimum, so that codes from 0 to `most` reach from the least number to the greatest; and gives the codes.
fn above_minimum(x: &Block, most: u8, out: &mut Vec<u8>) -> [u8; 32] {
    let (least, greatest) = x.iter().fold((x[0], x[0]), |(least, greatest), x| (least.min(*x), greatest.max(*x)));
    let most = f32::from(most);
    let scale = (greatest - least) / most;
    let per_step = inverse(scale);
    half(scale, out);
    half(least, out);
    x.map(|x| ((x - least) * per_step + 0.5).min(most) as u8)
}

/// Low halves of bytes, then high ones.
fn nibbles(codes: &[u8; 32], out: &mut Vec<u8>) {
    let (first, second) = codes.split_at(16);
    out.extend(first.iter().zip(second).map(|(low, high)| low & 15 | high << 4));
}

fn fifth_bits(codes: &[u8; 32], out: &mut Vec<u8>) {
    let bits = codes.iter().enumerate().fold(0_u32, |bits, (i, code)| bits | u32::from(code >> 4) << i);
    out.extend(bits.to_le_bytes());
}
