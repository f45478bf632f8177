//! A row to words and back, in memory.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::blocks::{IQ4, Layout, Scales};
use super::{BLOCK, QuantizedDtype, WeightFormat};

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
pub fn dequantize_row(words: &[i32], format: WeightFormat, out: &mut [f32]) {
    let dtype = match format {
        WeightFormat::Rounded(dtype) => dtype,
        WeightFormat::Blocks(format) => {
            let layout = format.layout();
            return match (layout.low, layout.high) {
                (2, 0) => blocks::<2, 0>(words, layout, out),
                (2, _) => blocks::<2, 1>(words, layout, out),
                (4, 0) => blocks::<4, 0>(words, layout, out),
                (4, 1) => blocks::<4, 1>(words, layout, out),
                (4, _) => blocks::<4, 2>(words, layout, out),
                _ => blocks::<8, 0>(words, layout, out),
            };
        }
    };
    match dtype {
        QuantizedDtype::F16 => {
            let f16_values: &[u16] = bytemuck::cast_slice(words);
            f16_values[..out.len()].reinterpret_cast::<f16>().convert_to_f32_slice(out);
        }
        QuantizedDtype::Int8 => integers::<8>(words, dtype, out),
        QuantizedDtype::Int4 => integers::<4>(words, dtype, out),
    }
}

/// Numbers of which parts are multiples.
const GROUP: usize = 16;

/// Of so many low and high bits.
#[inline(always)]
fn blocks<const LOW: usize, const HIGH: usize>(words: &[i32], layout: Layout, out: &mut [f32]) {
    let half = |word: i32, shift: u32| f16::from_bits((word as u32 >> shift) as u16).to_f32();
    let (begins, low_words, parts) = (layout.head(), layout.low_words(), layout.block / layout.part);
    for (block, out) in words.chunks_exact(layout.words()).zip(out.chunks_mut(layout.block)) {
        let (low, high) = block[begins..].split_at(low_words);
        let (one, other) = (half(block[0], 0), half(block[0], 16));
        let byte = |i: usize| f32::from((block[1 + i / 4] >> (8 * (i % 4))) as i8);
        for (i, out) in out.chunks_mut(layout.part).enumerate() {
            let (scale, minimum) = match layout.scales {
                Scales::One => (one, 0.0),
                Scales::Halves => (if i == 0 { one } else { other }, 0.0),
                Scales::Added => (one, -other),
                Scales::Parts => (one * byte(i), 0.0),
                Scales::PartsAndMinima => (one * byte(i), other * byte(parts + i)),
            };
            for (g, out) in out.chunks_mut(GROUP).enumerate() {
                let at = i * layout.part + g * GROUP;
                let mut q = [0_i32; GROUP];
                for (word, some) in low[at * LOW / 32..].iter().zip(q.chunks_exact_mut(32 / LOW)) {
                    for (k, q) in some.iter_mut().enumerate() {
                        // The sign of bytes comes along.
                        *q = if LOW == 8 {
                            (word << (24 - 8 * k)) >> 24
                        } else {
                            (word >> (LOW * k)) & ((1 << LOW) - 1)
                        };
                    }
                }
                if HIGH > 0 {
                    let word = high[at * HIGH / 32] >> (at * HIGH % 32);
                    for (k, q) in q.iter_mut().enumerate() {
                        *q |= ((word >> (HIGH * k)) & ((1 << HIGH) - 1)) << LOW;
                    }
                }
                let mut numbers = [0.0; GROUP];
                match layout.table {
                    false => {
                        numbers.iter_mut().zip(&q).for_each(|(n, q)| *n = scale * (q - layout.zero) as f32 - minimum)
                    }
                    true => numbers.iter_mut().zip(&q).for_each(|(n, q)| *n = scale * f32::from(IQ4[*q as usize & 15])),
                }
                out.copy_from_slice(&numbers[..out.len()]);
            }
        }
    }
}

#[inline(always)]
fn integers<const BITS: usize>(words: &[i32], dtype: QuantizedDtype, out: &mut [f32]) {
    for (block, out) in words.chunks_exact(1 + BITS).zip(out.chunks_mut(BLOCK)) {
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
