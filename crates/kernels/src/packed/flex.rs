//! Unpacking on the CPU: a row to a core.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};

use super::{PackedDtype, PackedOps, reference, unpack_row};
use crate::cpu::{Part, in_parts, integers, tensor};

struct Rows<'a> {
    words: &'a [i32],
    of_row: usize,
    dtype: PackedDtype,
}

impl Part for Rows<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        unpack_row(&self.words[i * self.of_row..][..self.of_row], self.dtype, out);
    }
}

impl PackedOps for Flex {
    fn unpack(words: IntTensor<Self>, dtype: PackedDtype, columns: usize) -> FloatTensor<Self> {
        let words = words.to_contiguous();
        let [rows, of_row] = [0, 1].map(|side| words.shape()[side]);
        let Some(of_words) = integers(&words) else { return reference::unpack::<Self>(words, dtype, columns) };
        let mut out = vec![0.0; rows * columns];
        in_parts(&mut out, columns, &Rows { words: of_words, of_row, dtype });
        tensor(out, [rows, columns].into())
    }
}
