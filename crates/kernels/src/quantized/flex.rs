//! Unpacking on the CPU: a row to a core.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};

use super::{QuantizedOps, WeightFormat, dequantize_row, reference};
use crate::cpu::{Part, in_parts, integers, tensor};

struct Rows<'a> {
    words: &'a [i32],
    of_row: usize,
    format: WeightFormat,
}

impl Part for Rows<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        dequantize_row(&self.words[i * self.of_row..][..self.of_row], self.format, out);
    }
}

impl QuantizedOps for Flex {
    fn dequantize_weight(words: IntTensor<Self>, format: WeightFormat, columns: usize) -> FloatTensor<Self> {
        let words = words.to_contiguous();
        let [rows, of_row] = [0, 1].map(|side| words.shape()[side]);
        let Some(of_words) = integers(&words) else {
            return reference::dequantize_weight::<Self>(words, format, columns);
        };
        let mut out = vec![0.0; rows * columns];
        in_parts(&mut out, columns, &Rows { words: of_words, of_row, format });
        tensor(out, [rows, columns].into())
    }
}
