//! Dequantizing by `shaders/dequantize_weight.wgsl`, or by `cube.rs`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{DType, TensorMetadata};
use burn::tensor::FloatDType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::blocks::Layout;
use super::{QuantizedOps, WeightFormat, cube, reference};
use crate::shader::{Bound, INVOCATIONS, Shader, countable, empty, grid, reads_words};

impl WeightFormat {
    /// The shader with what it reads quantized numbers by.
    pub(crate) fn read_by(self, shader: Shader) -> Shader {
        let format = match self {
            Self::Rounded(dtype) => {
                return shader.and(include_str!("../../../../shaders/quantized.wgsl")).with("bits", dtype.bits());
            }
            Self::Blocks(format) => format.layout(),
        };
        let Layout { block, low, high, part, zero, table, .. } = format;
        shader
            .and(include_str!("../../../../shaders/blocks.wgsl"))
            .with("bits", low + high)
            .with("block", block)
            .with("low", low)
            .with("high", high)
            .with("part", part)
            .with("scales", format.scales as u32)
            .with("zero", zero)
            .with("table", table)
            .with("low_begins", format.head())
            .with("high_begins", format.head() + format.low_words())
            .with("words", format.words())
    }
}

impl QuantizedOps for CubeBackend {
    fn dequantize_weight(words: IntTensor<Self>, format: WeightFormat, columns: usize) -> FloatTensor<Self> {
        let rows = words.shape()[0];
        let fours = u32::try_from(columns.div_ceil(4)).ok().zip(u32::try_from(rows).ok());
        let fours = fours.and_then(|(across, down)| across.checked_mul(down)).filter(|_| reads_words(&words));
        let Some(fours) = fours else {
            let numbers = rows.checked_mul(columns).and_then(|numbers| u32::try_from(numbers).ok());
            return match words.dtype() == DType::I32 && countable(&words) && numbers.is_some_and(|n| n > 0) {
                true => cube::dequantize_weight(words, format, columns, FloatDType::F32),
                false => reference::dequantize_weight::<Self>(words, format, columns),
            };
        };
        let words: CubeTensor = into_contiguous(words);
        let out = empty(&words, [rows, columns]);
        format.read_by(Shader::new("dequantize", include_str!("../../../../shaders/dequantize.wgsl"))).launch(
            &[Bound::Out(&out), Bound::In(&words)],
            &[rows as u32, columns as u32],
            grid(fours.div_ceil(INVOCATIONS)),
        );
        out
    }
}
