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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{assert_close, wave};

    /// Against the reference, over more numbers than a part has, and where the exponential leaves f32's range.
    #[test]
    fn values_and_gradients_are_the_references() {
        for (shape, most) in [([1, 1, 1], 1.0), ([1, 7, 5], 4.0), ([3, 100, 61], 4.0), ([1, 2, 50], 200.0)] {
            let [gate, up, dy] = [0.2, 1.1, 2.9].map(|seed| wave(shape, seed, most));
            let name = format!("{shape:?}, ±{most}");
            let y = Flex::swiglu_forward(gate.clone(), up.clone());
            assert_close(&y, &reference::forward::<Flex>(gate.clone(), up.clone()), 1e-6, &name);
            let (d_gate, d_up) = Flex::swiglu_backward(gate.clone(), up.clone(), dy.clone());
            let (want_gate, want_up) = reference::backward::<Flex>(gate, up, dy);
            assert_close(&d_gate, &want_gate, 1e-5, &format!("gate's of {name}"));
            assert_close(&d_up, &want_up, 1e-6, &format!("up's of {name}"));
        }
    }
}
