//! From numbers to the blocks of a GGUF file: one way for each type that an export writes.
//!
//! The types with one scale, or a scale and a minimum, for 32 numbers take them from the largest numbers, to the bit as
//! the reference does. K types search for those with the least error.

mod plain;
mod scale;
mod scale_and_minimum;
mod super_block;
#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used)]
mod tests;

use half::f16;
use stratune_protocol::Problem;

use super::block_type::BlockType;
use crate::tensor::first_not_finite;

/// Appends a row of numbers to `out`, written as `block_type`.
///
/// # Errors
/// The row is no whole number of blocks, a number is not finite or larger than an f16, which scales are, can be, or the
/// type is one that is read alone. Nothing is appended then.
pub fn quantize(block_type: BlockType, row: &[f32], out: &mut Vec<u8>) -> Result<(), Problem> {
    check(block_type, row)?;
    out.reserve(row.len() / block_type.length() * block_type.bytes());
    match block_type {
        BlockType::F32 => row.iter().for_each(|x| out.extend(x.to_le_bytes())),
        BlockType::F16 => row.iter().for_each(|x| half(*x, out)),
        BlockType::Q8_0 => blocks(row, |x| plain::q8_0(x, out)),
        BlockType::Q4_0 => blocks(row, |x| plain::q4_0(x, out)),
        BlockType::Q4_1 => blocks(row, |x| plain::q4_1(x, out)),
        BlockType::Q5_0 => blocks(row, |x| plain::q5_0(x, out)),
        BlockType::Q5_1 => blocks(row, |x| plain::q5_1(x, out)),
        BlockType::Q4_K => blocks(row, |x| super_block::q4_k(x, out)),
        BlockType::Q5_K => blocks(row, |x| super_block::q5_k(x, out)),
        BlockType::Q6_K => blocks(row, |x| super_block::q6_k(x, out)),
        _ => {
            let what = format!("{} is read, but not written", block_type.name());
            return Err(Problem::input(what).next("choose F32, F16, Q8_0, Q4_0 or Q4_K_M"));
        }
    }
    Ok(())
}

fn check(block_type: BlockType, row: &[f32]) -> Result<(), Problem> {
    let (name, length) = (block_type.name(), block_type.length());
    if !row.len().is_multiple_of(length) {
        let what = format!("a row of {} numbers is no whole number of {name}'s blocks of {length}", row.len());
        return Err(Problem::input(what).next("choose a type with smaller blocks, such as F16"));
    }
    if let Some(at) = first_not_finite(row) {
        let what = format!("number {at} of a row is {}, which {name} cannot hold", row[at]);
        return Err(Problem::input(what).next("look for the step at which training diverged"));
    }
    let most = f16::MAX.to_f32();
    match row.iter().position(|x| x.abs() > most) {
        Some(at) if block_type != BlockType::F32 => {
            let what = format!("number {at} of a row is {}, and {name} holds no more than {most}", row[at]);
            Err(Problem::input(what).next("write the file in F32"))
        }
        _ => Ok(()),
    }
}

/// Hands over a row in blocks of `N` numbers.
fn blocks<const N: usize>(row: &[f32], block: impl FnMut(&[f32; N])) {
    row.as_chunks().0.iter().for_each(block);
}

/// Appends a number as an f16.
fn half(number: f32, out: &mut Vec<u8>) {
    out.extend(f16::from_f32(number).to_le_bytes());
}

/// 1/x, and 0 for what has none.
fn inverse(x: f32) -> f32 {
    let inverse = 1.0 / x;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The number that is farthest from 0, the first of equals.
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |most: f32, x| if x.abs() > most.abs() { *x } else { most })
}
