//! A base in few bits (QLoRA: Dettmers et al. 2023, arXiv 2305.14314, §2).
//!
//! Each row of a matrix is cut into blocks; a block holds integers and one scale, the largest magnitude over the largest
//! integer. Where a matrix is used it is turned back into floats for that one product, and nothing is kept of them. The
//! integers are evenly spaced, where QLoRA's NF4 are spaced as normal numbers are.

use burn::tensor::Tensor;
use burn::tensor::quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype};

/// Most weights that share a scale.
const BLOCK: usize = 32;

/// `weight` in blocks of integers of so many bits, 4 or 8.
///
/// # Shapes
/// - `weight`, output: `[out, in]`
pub fn quantise(weight: Tensor<2>, bits: usize) -> Tensor<2> {
    let inputs = weight.dims()[1];
    // A row must be a whole number of blocks.
    let block = (1..=BLOCK).rev().find(|b| b.is_power_of_two() && inputs.is_multiple_of(*b)).unwrap_or(1);
    let value = if bits == 4 { QuantValue::Q4S } else { QuantValue::Q8S };
    // Words of 32 bits hold as many integers as fit, if a row is a whole number of them.
    let store = if inputs.is_multiple_of(8) { QuantStore::PackedU32(0) } else { QuantStore::Native };
    let scheme =
        QuantScheme::default().with_value(value).with_store(store).per_block([1, block as u8], ScaleDtype::F32);
    weight.quantize_dynamic(&scheme)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::param::dense;

    /// The error of a weight is at most half of its block's scale: the largest magnitude over 7 or 127.
    #[test]
    fn the_error_is_half_a_step() {
        let device = Device::flex();
        let values: Vec<f32> = (0..6 * 24).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let weight = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([6, 24]);
        for (bits, steps) in [(4, 7.0), (8, 127.0)] {
            let back = dense(&quantise(weight.clone(), bits)).into_data().try_to_vec::<f32>().unwrap_or_default();
            for (row, there) in values.chunks(8).zip(back.chunks(8)) {
                let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let off = row.iter().zip(there).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= 0.51 * largest / steps + 1e-6, "{bits} bits: {off} of {largest}");
            }
        }
    }
}
