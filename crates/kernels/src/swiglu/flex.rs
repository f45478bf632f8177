//! The gated activation on the CPU: each number read once and written once.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};

use super::reference::{self, SwigluOps};
use crate::cpu::{Part, exp, floats, in_parts, tensor};

/// Numbers that a part has.
const SIZE: usize = 16 * 1024;

struct Forward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
}

impl Part for Forward<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let from = i * SIZE;
        let inputs = self.gate[from..].iter().zip(&self.up[from..]);
        for (y, (gate, up)) in out.iter_mut().zip(inputs) {
            *y = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

/// Both gradients, that of gate first: halves of one output.
struct Gradient<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    dy: &'a [f32],
    of_gate: bool,
}

impl Part for Gradient<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let from = i * SIZE;
        let inputs = self.gate[from..].iter().zip(&self.dy[from..]);
        if self.of_gate {
            for ((d, (gate, dy)), up) in out.iter_mut().zip(inputs).zip(&self.up[from..]) {
                let open = 1.0 / (1.0 + exp(-gate));
                *d = dy * up * open * (1.0 + gate * (1.0 - open));
            }
        } else {
            for (d, (gate, dy)) in out.iter_mut().zip(inputs) {
                *d = dy * gate / (1.0 + exp(-gate));
            }
        }
    }
}

impl SwigluOps for Flex {
    fn swiglu_forward(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let (Some(g), Some(u)) = (floats(&gate), floats(&up)) else { return reference::forward::<Self>(gate, up) };
        let mut y = vec![0.0; g.len()];
        in_parts(&mut y, SIZE, &Forward { gate: g, up: u });
        tensor(y, gate.shape())
    }

    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, up, dy) = (gate.to_contiguous(), up.to_contiguous(), dy.to_contiguous());
        let (Some(g), Some(u), Some(d)) = (floats(&gate), floats(&up), floats(&dy)) else {
            return reference::backward::<Self>(gate, up, dy);
        };
        let make = |of_gate: bool| {
            let mut gradient = vec![0.0; g.len()];
            in_parts(&mut gradient, SIZE, &Gradient { gate: g, up: u, dy: d, of_gate });
            tensor(gradient, gate.shape())
        };
        (make(true), make(false))
    }
}
