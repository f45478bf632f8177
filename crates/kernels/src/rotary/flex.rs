//! Rotary embedding on the CPU: each number read once, wherever it lies, and written once.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;

use super::reference::{self, RotaryOps};
use crate::cpu::{Part, floats, in_parts, tensor};

/// One part is one head of one row of the batch.
struct Rotation<'a> {
    x: &'a [f32],
    /// Numbers between rows of the batch, heads, and positions.
    strides: [usize; 3],
    heads: usize,
    seq: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Part for Rotation<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let half = out.len() / self.seq / 2;
        let start = i / self.heads * self.strides[0] + i % self.heads * self.strides[1];
        // One row of angles is every row's.
        let row = i / self.heads * self.seq * half % self.cos.len();
        let angles = self.cos[row..].chunks_exact(half).zip(self.sin[row..].chunks_exact(half));
        for (t, (y, (cos, sin))) in out.chunks_exact_mut(2 * half).zip(angles).enumerate() {
            let x = &self.x[start + t * self.strides[2]..][..2 * half];
            let ((first, second), (one, other)) = (x.split_at(half), y.split_at_mut(half));
            for k in 0..half {
                one[k] = first[k] * cos[k] - second[k] * sin[k];
                other[k] = second[k] * cos[k] + first[k] * sin[k];
            }
        }
    }
}

impl RotaryOps for Flex {
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = x.shape();
        // Heads are usually a view of what the projection has made; only numbers that do not lie side by side are moved.
        let forward = x.layout().strides().iter().all(|s| *s >= 0) && x.layout().strides()[3] == 1;
        let x = if forward { x } else { x.to_contiguous() };
        let (cos, sin) = (cos.to_contiguous(), sin.to_contiguous());
        let (Some(c), Some(s), DType::F32) = (floats(&cos), floats(&sin), x.dtype()) else {
            return reference::rotate::<Self>(x, cos, sin);
        };
        let strides = x.layout().strides();
        let rotation = Rotation {
            x: &x.storage::<f32>()[x.layout().start_offset()..],
            strides: [0, 1, 2].map(|i| strides[i] as usize),
            heads: shape[1],
            seq: shape[2],
            cos: c,
            sin: s,
        };
        let mut y = vec![0.0; shape.num_elements()];
        in_parts(&mut y, shape[2] * shape[3], &rotation);
        tensor(y, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{assert_close, wave};

    /// Against the reference, for numbers in order and for heads that are a view of them, with the same angles for all rows
    /// and with each row's own; and back again.
    #[test]
    fn rotated_as_the_reference_and_back() {
        for [batch, heads, seq, head_dim] in [[1, 1, 1, 2], [2, 3, 5, 8], [1, 4, 17, 10]] {
            let in_order = wave([batch, heads, seq, head_dim], 0.2, 2.0);
            let view = wave([batch, seq, heads, head_dim], 0.2, 2.0).transpose(1, 2);
            for (x, rows) in [(&in_order, 1), (&view, 1), (&in_order, batch), (&view, batch)] {
                let angles = wave([rows, 1, seq, head_dim / 2], 0.4, 3.0);
                let of = |f: fn(f32) -> f32| {
                    let values = floats(&angles).unwrap_or_default().iter().map(|a| f(*a)).collect();
                    tensor(values, angles.shape())
                };
                let (cos, sin) = (of(f32::cos), of(f32::sin));
                let y = Flex::rotate(x.clone(), cos.clone(), sin.clone());
                let want = reference::rotate::<Flex>(x.clone(), cos.clone(), sin.clone());
                assert_close(&y, &want, 1e-6, "rotated");
                assert_close(&Flex::rotate_backward(y, cos, sin), x, 1e-6, "and back");
            }
        }
    }
}
