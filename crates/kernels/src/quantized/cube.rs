//! Dequantizing in CubeCL, a unit for each number.

use ::half::{bf16, f16};
use burn::backend::TensorMetadata;
use burn::tensor::{FloatDType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::blocks::{Layout, Scales};
use super::{BLOCK, WeightFormat};
use crate::cube::units_for;

/// An f16 by its bits, which are of no infinity and not of what is no number.
#[cube]
fn half(bits: u32) -> f32 {
    let exponent = (bits >> 10) & 31;
    let fraction = bits & 1023;
    // Exponents count from −15, and from −127 in an f32; those of zero and the smallest f16 are no power.
    let normal = f32::reinterpret(((exponent + 112) << 23) | (fraction << 13));
    let small = f32::cast_from(fraction) * 5.960_464_5e-8;
    let magnitude = select(exponent == 0, small, normal);
    select(bits >= 32_768, -magnitude, magnitude)
}

#[cube(launch_unchecked)]
fn dequantized<F: Float>(
    words: &[u32],
    out: &mut [F],
    numbers: usize,
    columns: usize,
    blocks: usize,
    steps: f32,
    #[comptime] bits: u32,
    #[comptime] head: usize,
    #[comptime] block_words: usize,
    #[define(F)] _kind: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= numbers {
        terminate!();
    }
    let column = at % columns;
    let start = (at / columns * blocks + column / BLOCK) * block_words;
    let bit = (column % BLOCK) as u32 * bits;
    let word = words[start + head + (bit / 32) as usize];
    let shift = bit % 32;
    if comptime!(bits == 16) {
        out[at] = F::cast_from(half((word >> shift) & 65_535));
    } else {
        // To the top and back: the sign comes along.
        let integer = i32::reinterpret(word << (32 - bits - shift)) >> comptime!(32 - bits as i32);
        out[at] = F::cast_from(f32::reinterpret(words[start]) / steps * f32::cast_from(integer));
    }
}

/// What 4 bits stand for in IQ4 formats, four signed bytes to a word.
#[cube]
fn of_table(q: i32) -> f32 {
    let first = select(q < 4, 0xbfad_9881_u32, 0xf6ea_ddcf_u32);
    let last = select(q < 12, 0x2619_0d01_u32, 0x7159_4535_u32);
    let word = select(q < 8, first, last);
    f32::cast_from(i32::reinterpret(word << (24 - 8 * (u32::cast_from(q) % 4))) >> 24)
}

/// A signed byte of those that begin at a word.
#[cube]
fn byte_at(words: &[u32], start: usize, i: usize) -> f32 {
    let word = words[start + i / 4];
    f32::cast_from(i32::reinterpret(word << (24 - 8 * (i % 4) as u32)) >> 24)
}

/// Numbers of the blocks of a GGUF file.
#[cube(launch_unchecked)]
fn of_blocks<F: Float>(
    words: &[u32],
    out: &mut [F],
    numbers: usize,
    columns: usize,
    blocks: usize,
    #[comptime] layout: Layout,
    #[define(F)] _kind: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= numbers {
        terminate!();
    }
    let column = at % columns;
    let start = (at / columns * blocks + column / comptime!(layout.block)) * comptime!(layout.words());
    let inside = column % comptime!(layout.block);
    let bit = inside as u32 * comptime!(layout.low as u32);
    let low = words[start + comptime!(layout.head()) + (bit / 32) as usize] >> (bit % 32);
    let mut q = i32::cast_from(low & comptime!((1_u32 << layout.low) - 1));
    if comptime!(layout.low == 8) {
        q = (q << 24) >> 24;
    }
    if comptime!(layout.high > 0) {
        let bit = inside as u32 * comptime!(layout.high as u32);
        let high = words[start + comptime!(layout.head() + layout.low_words()) + (bit / 32) as usize] >> (bit % 32);
        q += i32::cast_from((high & comptime!((1_u32 << layout.high) - 1)) << comptime!(layout.low as u32));
    }
    let mut value = f32::cast_from(q - comptime!(layout.zero));
    if comptime!(layout.table) {
        value = of_table(q);
    }
    let one = half(words[start] & 65_535);
    let other = half(words[start] >> 16);
    let part = inside / comptime!(layout.part);
    if comptime!(layout.scales == Scales::One) {
        value *= one;
    } else if comptime!(layout.scales == Scales::Halves) {
        value *= select(part == 0, one, other);
    } else if comptime!(layout.scales == Scales::Added) {
        value = one * value + other;
    } else {
        value *= one * byte_at(words, start + 1, part);
    }
    if comptime!(layout.scales == Scales::PartsAndMinima) {
        value -= other * byte_at(words, start + 1 + comptime!(layout.block / layout.part / 4), part);
    }
    out[at] = F::cast_from(value);
}

/// `[rows, columns]` floats of this kind, of rows of words, of which 32 bits count each.
pub fn dequantize_weight(words: CubeTensor, format: WeightFormat, columns: usize, kind: FloatDType) -> CubeTensor {
    let words = into_contiguous(words);
    let rows = words.shape()[0];
    let shape = Shape::from([rows, columns]);
    let out = empty_device_contiguous_dtype(words.client.clone(), words.device.clone(), shape, kind.into());
    let elem = match kind {
        FloatDType::F16 => f16::elem_type_native(),
        FloatDType::BF16 => bf16::elem_type_native(),
        _ => f32::elem_type_native(),
    };
    let (count, dim) = units_for(rows * columns, &words);
    let blocks = columns.div_ceil(format.block());
    let dtype = match format {
        WeightFormat::Rounded(dtype) => dtype,
        WeightFormat::Blocks(format) => {
            // SAFETY: as below.
            unsafe {
                of_blocks::launch_unchecked(
                    &out.client,
                    count,
                    dim,
                    words.into_buffer_arg(),
                    out.clone().into_buffer_arg(),
                    rows * columns,
                    columns,
                    blocks,
                    format.layout(),
                    elem,
                );
            }
            return out;
        }
    };
    // SAFETY: `out` has `rows` rows of `columns` numbers, and `words` their blocks.
    unsafe {
        dequantized::launch_unchecked(
            &out.client,
            count,
            dim,
            words.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            rows * columns,
            columns,
            blocks,
            dtype.steps(),
            dtype.bits() as u32,
            dtype.head(),
            format.block_words(),
            elem,
        );
    }
    out
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use burn::backend::ops::IntTensorOps;
    use burn::tensor::{Device, Tensor, TensorData};
    use burn_cubecl::CubeBackend;

    use super::super::{BlockFormat, QuantizedDtype, host, reference};
    use super::*;
    use crate::testing::{noise, numbers, wgpu};

    /// The host's numbers: rows of noise, of zeros and of the smallest f16, in memory that held no numbers before.
    #[test]
    fn it_is_what_the_host_does() {
        let Some(device) = wgpu() else { return };
        for dtype in [QuantizedDtype::F16, QuantizedDtype::Int8, QuantizedDtype::Int4] {
            for columns in [1, 31, 32, 70, 576] {
                let noise = noise(columns, 3);
                let by = |most: f32| noise.iter().map(|v| v * most).collect::<Vec<_>>();
                let rows = [by(9.0), by(0.0), by(6e-6), by(65504.0)];
                let (mut words, mut want) = (Vec::new(), Vec::new());
                for row in &rows {
                    host::quantize_row(row, dtype, &mut words);
                    want.extend(dtype.rounded(row));
                }
                drop(Tensor::<1>::full([want.len()], f32::NAN, &device));
                let got =
                    numbers(dequantize_weight(on(words, rows.len(), &device), dtype.into(), columns, FloatDType::F32));
                assert_eq!(got.len(), want.len());
                for (g, w) in got.iter().zip(&want) {
                    // A quotient and a product.
                    assert!((g - w).abs() <= 1e-6 * w.abs(), "{dtype:?}, {columns}: {g} for {w}");
                }
            }
        }
    }

    /// Blocks of GGUF files too, to the bit.
    #[test]
    fn blocks_are_what_the_host_has() {
        let Some(device) = wgpu() else { return };
        for format in BlockFormat::ALL {
            let (in_block, bytes) = format.in_file();
            let (rows, columns) = (3, 3 * in_block);
            let (mut words, mut want) = (Vec::new(), vec![0.0; rows * columns]);
            for (row, want) in format.noise([rows, columns]).chunks(3 * bytes).zip(want.chunks_mut(columns)) {
                let from = words.len();
                format.repack(row, &mut words);
                host::dequantize_row(&words[from..], format.into(), want);
            }
            drop(Tensor::<1>::full([want.len()], f32::NAN, &device));
            let words = on(words, rows, &device);
            let of_cube = numbers(dequantize_weight(words.clone(), format.into(), columns, FloatDType::F32));
            let by_reference = numbers(reference::dequantize_weight::<CubeBackend>(words, format.into(), columns));
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&of_cube), bits(&want), "{format:?}");
            assert_eq!(bits(&by_reference), bits(&want), "{format:?}, by burn's own operations");
        }
    }

    fn on(words: Vec<i32>, rows: usize, device: &Device) -> CubeTensor {
        let of = crate::testing::of_values(vec![0.0], device);
        let row_words = words.len() / rows;
        CubeBackend::int_from_data(TensorData::new(words, [rows, row_words]), &of.device)
    }
}
