//! The norm on the CPU: a row is in the cache from its first reading to its last.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};

use super::reference::{self, LayerNormOps};
use crate::cpu::{LANES, Part, dot, floats, in_parts, tensor};

/// Rows that a part has.
const ROWS: usize = 16;

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Part for Forward<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let hidden = self.weight.len();
        let x = &self.x[i * ROWS * hidden..];
        for (y, x) in out.chunks_exact_mut(hidden).zip(x.chunks_exact(hidden)) {
            let r = centred(y, x, self.eps);
            for ((y, w), b) in y.iter_mut().zip(self.weight).zip(self.bias) {
                *y = *y * r * w + b;
            }
        }
    }
}

struct Gradient<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    dy: &'a [f32],
    eps: f32,
}

impl Part for Gradient<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let hidden = self.weight.len();
        let start = i * ROWS * hidden;
        let rows = self.x[start..].chunks_exact(hidden).zip(self.dy[start..].chunks_exact(hidden));
        let mut c = vec![0.0; hidden];
        for (dx, (x, dy)) in out.chunks_exact_mut(hidden).zip(rows) {
            let r = centred(&mut c, x, self.eps);
            for ((d, g), w) in dx.iter_mut().zip(dy).zip(self.weight) {
                *d = g * w;
            }
            let mean = sum(dx) / hidden as f32;
            let pull = r * r * dot(dx, &c) / hidden as f32;
            for (d, c) in dx.iter_mut().zip(&c) {
                *d = r * (*d - mean - c * pull);
            }
        }
    }
}

/// What is left of a row when its mean is taken off, and r.
#[inline(always)]
fn centred(out: &mut [f32], x: &[f32], eps: f32) -> f32 {
    let mean = sum(x) / x.len() as f32;
    for (c, x) in out.iter_mut().zip(x) {
        *c = x - mean;
    }
    (dot(out, out) / x.len() as f32 + eps).sqrt().recip()
}

/// Σ x[i].
#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for x in chunks {
        for i in 0..LANES {
            lanes[i] += x[i];
        }
    }
    rest + lanes.iter().sum::<f32>()
}

impl LayerNormOps for Flex {
    fn layer_norm_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let [x, weight, bias] = [x, weight, bias].map(|t| t.to_contiguous());
        let (Some(from), Some(w), Some(b)) = (floats(&x), floats(&weight), floats(&bias)) else {
            return reference::forward::<Self>(x, weight, bias, eps);
        };
        let mut y = vec![0.0; from.len()];
        in_parts(&mut y, ROWS * w.len(), &Forward { x: from, weight: w, bias: b, eps: eps as f32 });
        tensor(y, x.shape())
    }

    fn layer_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let [x, weight, dy] = [x, weight, dy].map(|t| t.to_contiguous());
        let (Some(from), Some(w), Some(back)) = (floats(&x), floats(&weight), floats(&dy)) else {
            return reference::dx::<Self>(x, weight, dy, eps);
        };
        let mut dx = vec![0.0; from.len()];
        in_parts(&mut dx, ROWS * w.len(), &Gradient { x: from, weight: w, dy: back, eps: eps as f32 });
        tensor(dx, x.shape())
    }
}
