//! Activations on the CPU: each number is read once and written once, forward and back.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};

use super::Activation;
use super::reference::{self, ActivationOps, CUBIC, TANH_SCALE};
use crate::cpu::{Part, erf, exp, floats, in_parts, tanh, tensor};

/// Numbers that a part has.
const NUMBERS: usize = 1 << 13;

struct Forward<'a> {
    x: &'a [f32],
    of: Activation,
}

impl Part for Forward<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let x = &self.x[i * NUMBERS..];
        // A loop for each, so that its body has no branch.
        match self.of {
            Activation::Silu => made(out, x, |x| x * sigmoid(x)),
            Activation::Gelu => made(out, x, |x| x * normal(x)),
            Activation::GeluTanh => made(out, x, |x| 0.5 * x * (1.0 + bend(x))),
            Activation::Relu => made(out, x, |x| x.max(0.0)),
            Activation::Relu2 => made(out, x, |x| x.max(0.0) * x.max(0.0)),
        }
    }
}

struct Gradient<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    of: Activation,
}

impl Part for Gradient<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let (x, dy) = (&self.x[i * NUMBERS..], &self.dy[i * NUMBERS..]);
        match self.of {
            Activation::Silu => times(out, dy, x, |x| {
                let open = sigmoid(x);
                open * (1.0 + x * (1.0 - open))
            }),
            Activation::Gelu => times(out, dy, x, |x| {
                let density = 0.5 * TANH_SCALE as f32 * exp(-0.5 * x * x);
                normal(x) + x * density
            }),
            Activation::GeluTanh => times(out, dy, x, |x| {
                let bent = bend(x);
                let rise = TANH_SCALE as f32 * (1.0 + 3.0 * CUBIC as f32 * x * x);
                0.5 * (1.0 + bent + x * (1.0 - bent * bent) * rise)
            }),
            Activation::Relu => times(out, dy, x, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Relu2 => times(out, dy, x, |x| 2.0 * x.max(0.0)),
        }
    }
}

#[inline(always)]
fn made(out: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    out.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
}

#[inline(always)]
fn times(out: &mut [f32], dy: &[f32], x: &[f32], slope: impl Fn(f32) -> f32) {
    out.iter_mut().zip(dy).zip(x).for_each(|((dx, dy), x)| *dx = dy * slope(*x));
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// Φ(x).
#[inline(always)]
fn normal(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

/// The hyperbolic tangent in the approximation of gelu.
#[inline(always)]
fn bend(x: f32) -> f32 {
    tanh(TANH_SCALE as f32 * x * (1.0 + CUBIC as f32 * x * x))
}

impl ActivationOps for Flex {
    fn activation_forward(x: FloatTensor<Self>, of: Activation) -> FloatTensor<Self> {
        let x = x.to_contiguous();
        let Some(from) = floats(&x) else { return reference::forward::<Self>(x, of) };
        let mut y = vec![0.0; from.len()];
        in_parts(&mut y, NUMBERS, &Forward { x: from, of });
        tensor(y, x.shape())
    }

    fn activation_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>, of: Activation) -> FloatTensor<Self> {
        let (x, dy) = (x.to_contiguous(), dy.to_contiguous());
        let (Some(from), Some(back)) = (floats(&x), floats(&dy)) else {
            return reference::backward::<Self>(x, dy, of);
        };
        let mut dx = vec![0.0; from.len()];
        in_parts(&mut dx, NUMBERS, &Gradient { x: from, dy: back, of });
        tensor(dx, x.shape())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{assert_close, wave};

    /// Against the reference, over more than a part and a rest; 1e-6: an exponential in f32 of another make, times 12.
    #[test]
    fn values_and_gradients_are_the_references() {
        for of in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Relu2] {
            for (shape, most) in [([1, 1, 1], 1.0), ([2, 3, 7], 3.0), ([3, 5, 700], 12.0)] {
                let [x, dy] = [0.3, 1.7].map(|seed| wave(shape, seed, most));
                let name = format!("{of:?} of {shape:?}");
                let y = Flex::activation_forward(x.clone(), of);
                assert_close(&y, &reference::forward::<Flex>(x.clone(), of), 1e-6, &name);
                let dx = Flex::activation_backward(x.clone(), dy.clone(), of);
                assert_close(&dx, &reference::backward::<Flex>(x, dy, of), 1e-6, &format!("gradient of {name}"));
            }
        }
    }
}
