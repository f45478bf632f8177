//! Words back to floats in burn's own operations.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata, backend_extension};
use burn::tensor::{FloatDType, Slice, TensorData};

use super::blocks::{IQ4, Layout, Scales};
use super::{QuantizedDtype, WeightFormat};

/// Unpacking. The default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait QuantizedOps: Backend {
    /// `[rows, columns]` floats of `[rows, words]`.
    fn dequantize_weight(words: IntTensor<Self>, format: WeightFormat, columns: usize) -> FloatTensor<Self> {
        dequantize_weight::<Self>(words, format, columns)
    }
}

/// What is quantized is not tracked.
impl<B: QuantizedOps, C: CheckpointStrategy> QuantizedOps for Autodiff<B, C> {
    fn dequantize_weight(words: IntTensor<Self>, format: WeightFormat, columns: usize) -> FloatTensor<Self> {
        <Self as AutodiffBackend>::from_inner(B::dequantize_weight(words, format, columns))
    }
}

/// The floats, by arithmetic on the words.
pub fn dequantize_weight<B: Backend>(words: IntTensor<B>, format: WeightFormat, columns: usize) -> FloatTensor<B> {
    let rows = words.shape()[0];
    let blocks = columns.div_ceil(format.block());
    let words = B::int_reshape(words, [rows * blocks, format.block_words()].into());
    let part =
        |from: usize, to: usize| B::int_slice(words.clone(), &[Slice::from(0..rows * blocks), Slice::from(from..to)]);
    let values = match format {
        WeightFormat::Rounded(QuantizedDtype::F16) => f16_values::<B>(words),
        WeightFormat::Rounded(dtype) => {
            let integers = fields::<B>(part(dtype.head(), format.block_words()), dtype.bits(), true);
            let most = singles::<B>(part(0, 1));
            let step = B::float_div_scalar(most, dtype.steps().into());
            B::float_mul(B::int_into_float(integers, FloatDType::F32), step)
        }
        WeightFormat::Blocks(format) => values_of_blocks::<B>(part, rows * blocks, format.layout()),
    };
    let values = B::float_reshape(values, [rows, blocks * format.block()].into());
    B::float_slice(values, &[Slice::from(0..rows), Slice::from(0..columns)])
}

/// The same of `count` blocks of a GGUF file, of which `part` gives some words.
fn values_of_blocks<B: Backend>(
    part: impl Fn(usize, usize) -> IntTensor<B>,
    count: usize,
    layout: Layout,
) -> FloatTensor<B> {
    let floats = |integers| B::int_into_float(integers, FloatDType::F32);
    let parts = layout.block / layout.part;
    let (begins, ends) = (layout.head(), layout.head() + layout.low_words());
    let low = fields::<B>(part(begins, ends), layout.low, layout.low == 8);
    let q = match layout.high {
        0 => low,
        bits => {
            let high = fields::<B>(part(ends, layout.words()), bits, false);
            B::int_add(low, B::int_mul_scalar(high, (1_i32 << layout.low).into()))
        }
    };
    let values = match layout.table {
        false => floats(B::int_sub_scalar(q, layout.zero.into())),
        true => {
            let table = TensorData::new(IQ4.map(f32::from).to_vec(), [IQ4.len()]);
            let table = B::float_from_data(table, &q.device());
            B::float_select(table, 0, B::int_reshape(q, [count * layout.block].into()))
        }
    };
    // [blocks, parts, numbers of a part]; what parts share is one of each, or one for all.
    let values = B::float_reshape(values, [count, parts, layout.part].into());
    let head = f16_values::<B>(part(0, 1));
    let of_head = |i: usize| {
        let one = B::float_slice(head.clone(), &[Slice::from(0..count), Slice::from(i..i + 1)]);
        B::float_reshape(one, [count, 1, 1].into())
    };
    let bytes = |from: usize| {
        let bytes = fields::<B>(part(from, from + parts / 4), 8, true);
        B::float_reshape(floats(bytes), [count, parts, 1].into())
    };
    match layout.scales {
        Scales::One => B::float_mul(values, of_head(0)),
        Scales::Halves => B::float_mul(values, B::float_reshape(head, [count, parts, 1].into())),
        Scales::Added => B::float_add(B::float_mul(values, of_head(0)), of_head(1)),
        Scales::Parts => B::float_mul(values, B::float_mul(of_head(0), bytes(1))),
        Scales::PartsAndMinima => {
            let minima = B::float_mul(of_head(1), bytes(1 + parts / 4));
            B::float_sub(B::float_mul(values, B::float_mul(of_head(0), bytes(1))), minima)
        }
    }
}

/// Words cut into fields of so many bits, the lowest first: `[n, words]` as `[n, words · 32 / bits]`.
fn fields<B: Backend>(words: IntTensor<B>, bits: usize, signed: bool) -> IntTensor<B> {
    let [n, count] = [0, 1].map(|side| words.shape()[side]);
    let each = 32 / bits;
    let all = (0..each)
        .map(|i| {
            let field = B::bitwise_right_shift_scalar(words.clone(), ((bits * i) as i32).into());
            let field = B::bitwise_and_scalar(field, ((1_i32 << bits) - 1).into());
            let field = match signed {
                false => field,
                // Two's complement: adding half the range and taking it off again.
                true => {
                    let half = 1_i32 << (bits - 1);
                    let raised =
                        B::bitwise_and_scalar(B::int_add_scalar(field, half.into()), ((1_i32 << bits) - 1).into());
                    B::int_sub_scalar(raised, half.into())
                }
            };
            B::int_reshape(field, [n, count, 1].into())
        })
        .collect();
    B::int_reshape(B::int_cat(all, 2), [n, count * each].into())
}

/// `sign · 2^exponent · significand` of the bits of floats with so many bits of each; zero and the numbers below the normal
/// ones too.
fn floats<B: Backend>(bits: IntTensor<B>, fraction: usize, exponent: usize) -> FloatTensor<B> {
    let field = |from: usize, count: usize| {
        let shifted = B::bitwise_right_shift_scalar(bits.clone(), (from as i32).into());
        B::bitwise_and_scalar(shifted, ((1_i32 << count) - 1).into())
    };
    let shape = bits.shape();
    let device = bits.device();
    let flat = |t: IntTensor<B>| B::int_reshape(t, [shape.num_elements()].into());
    let table = |value: &dyn Fn(i32) -> f32| {
        let values: Vec<f32> = (0..1 << exponent).map(value).collect();
        let count = values.len();
        B::float_from_data(TensorData::new(values, [count]), &device)
    };
    let bias = (1 << (exponent - 1)) - 1;
    let exponents = flat(field(fraction, exponent));
    let look_up = |value: &dyn Fn(i32) -> f32| {
        B::float_reshape(B::float_select(table(value), 0, exponents.clone()), shape.clone())
    };
    let power = look_up(&|e| ((e.max(1) - bias) as f32).exp2());
    let one = look_up(&|e| if e > 0 { 1.0 } else { 0.0 });
    let rest = B::int_into_float(field(0, fraction), FloatDType::F32);
    let significand = B::float_add(one, B::float_mul_scalar(rest, (-(fraction as f32)).exp2().into()));
    let sign = B::int_into_float(field(fraction + exponent, 1), FloatDType::F32);
    let sign = B::float_add_scalar(B::float_mul_scalar(sign, (-2.0_f32).into()), 1.0_f32.into());
    B::float_mul(B::float_mul(significand, power), sign)
}

fn f16_values<B: Backend>(words: IntTensor<B>) -> FloatTensor<B> {
    floats::<B>(fields::<B>(words, 16, false), 10, 5)
}

fn singles<B: Backend>(words: IntTensor<B>) -> FloatTensor<B> {
    floats::<B>(words, 23, 8)
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::backend::Flex;
    use burn::backend::ops::IntTensorOps;

    use super::super::host;
    use super::*;

    /// Against the host's way, with the smallest f16 and a row of zeros.
    #[test]
    fn it_is_what_the_host_does() {
        for dtype in [QuantizedDtype::F16, QuantizedDtype::Int8, QuantizedDtype::Int4] {
            for columns in [1, 32, 70] {
                let rows = [
                    (0..columns).map(|i| (i as f32 - 20.0) * 0.37).collect::<Vec<_>>(),
                    vec![0.0; columns],
                    (0..columns).map(|i| (i as f32 - 20.0) * 3e-7).collect(),
                ];
                let (mut words, mut want) = (Vec::new(), Vec::new());
                for row in &rows {
                    let from = words.len();
                    host::quantize_row(row, dtype, &mut words);
                    let mut back = vec![0.0; columns];
                    host::dequantize_row(&words[from..], dtype.into(), &mut back);
                    want.extend(back);
                }
                let count = words.len() / 3;
                let words = Flex::int_from_data(TensorData::new(words, [3, count]), &Default::default());
                let got = dequantize_weight::<Flex>(words, dtype.into(), columns);
                let got = got.to_contiguous();
                let got = got.as_slice::<f32>().unwrap_or_default();
                assert_eq!(got.len(), want.len());
                for (g, w) in got.iter().zip(&want) {
                    assert!((g - w).abs() <= 1e-6 * w.abs(), "{dtype:?}, {columns}: {g} for {w}");
                }
            }
        }
    }
}
