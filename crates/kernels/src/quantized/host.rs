//! A row to words and back, in memory.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::{BLOCK, QuantizedDtype};

/// Appends the words of a row.
pub fn quantize_row(row: &[f32], dtype: QuantizedDtype, words: &mut Vec<i32>) {
    for of_block in row.chunks(BLOCK) {
        let mut block = [0.0; BLOCK];
        block[..of_block.len()].copy_from_slice(of_block);
        match dtype {
            QuantizedDtype::F16 => {
                let half = |v: f32| u32::from(f16::from_f32(v.clamp(-65504.0, 65504.0)).to_bits());
                words.extend(block.chunks_exact(2).map(|two| (half(two[0]) | half(two[1]) << 16) as i32));
            }
            QuantizedDtype::Int8 | QuantizedDtype::Int4 => {
                let bits = dtype.bits();
                let most = block.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let times = if most > 0.0 { dtype.steps() / most } else { 0.0 };
                let integer = |v: f32| ((v * times).round() as i32 as u32) & ((1 << bits) - 1);
                words.push(most.to_bits() as i32);
                words.extend(block.chunks_exact(32 / bits).map(|some| {
                    some.iter().enumerate().fold(0, |word, (i, v)| word | integer(*v) << (bits * i)) as i32
                }));
            }
        }
    }
}

/// The numbers of a row, or of some of its blocks: as many as `out` has, of as many words as they take.
#[inline(always)]
pub fn dequantize_row(words: &[i32], dtype: QuantizedDtype, out: &mut [f32]) {
    match dtype {
        QuantizedDtype::F16 => {
            let f16_values: &[u16] = bytemuck::cast_slice(words);
            f16_values[..out.len()].reinterpret_cast::<f16>().convert_to_f32_slice(out);
        }
        QuantizedDtype::Int8 => integers::<8>(words, dtype, out),
        QuantizedDtype::Int4 => integers::<4>(words, dtype, out),
    }
}

#[inline(always)]
fn integers<const BITS: usize>(words: &[i32], dtype: QuantizedDtype, out: &mut [f32]) {
    for (block, out) in words.chunks_exact(dtype.block_words()).zip(out.chunks_mut(BLOCK)) {
        let step = f32::from_bits(block[0] as u32) / dtype.steps();
        let mut numbers = [0.0; BLOCK];
        for (word, some) in block[1..].iter().zip(numbers.chunks_exact_mut(32 / BITS)) {
            for (i, number) in some.iter_mut().enumerate() {
                // To the top and back: the sign comes along.
                *number = step * ((word << (32 - BITS - BITS * i)) >> (32 - BITS)) as f32;
            }
        }
        out.copy_from_slice(&numbers[..out.len()]);
    }
}
