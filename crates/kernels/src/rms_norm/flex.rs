//! The norm on the CPU: each row read once or twice and written once.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};

use super::reference::{self, RmsNormOps};
use crate::cpu::{Part, dot, floats, in_parts, tensor};

/// Rows that a part has.
const ROWS: usize = 16;

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Part for Forward<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let hidden = self.weight.len();
        let x = &self.x[i * ROWS * hidden..];
        for (y, x) in out.chunks_exact_mut(hidden).zip(x.chunks_exact(hidden)) {
            let r = (dot(x, x) / hidden as f32 + self.eps).sqrt().recip();
            for ((y, x), w) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * r * w;
            }
        }
    }
}

struct Gradient<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    dy: &'a [f32],
    /// What it is added to.
    residual: Option<&'a [f32]>,
    eps: f32,
}

impl Part for Gradient<'_> {
    #[inline(always)]
    fn make(&self, i: usize, out: &mut [f32]) {
        let hidden = self.weight.len();
        let start = i * ROWS * hidden;
        let rows = self.x[start..].chunks_exact(hidden).zip(self.dy[start..].chunks_exact(hidden));
        for (dx, (x, dy)) in out.chunks_exact_mut(hidden).zip(rows) {
            let r = (dot(x, x) / hidden as f32 + self.eps).sqrt().recip();
            for ((d, g), w) in dx.iter_mut().zip(dy).zip(self.weight) {
                *d = g * w;
            }
            let pull = r * r * dot(dx, x) / hidden as f32;
            for (d, x) in dx.iter_mut().zip(x) {
                *d = r * (*d - x * pull);
            }
        }
        if let Some(residual) = self.residual {
            out.iter_mut().zip(&residual[start..]).for_each(|(d, more)| *d += more);
        }
    }
}

impl RmsNormOps for Flex {
    fn rms_norm_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let (Some(from), Some(w)) = (floats(&x), floats(&weight)) else {
            return reference::forward::<Self>(x, weight, eps);
        };
        let mut y = vec![0.0; from.len()];
        in_parts(&mut y, ROWS * w.len(), &Forward { x: from, weight: w, eps: eps as f32 });
        tensor(y, x.shape())
    }

    fn rms_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        gradient(x, weight, dy, eps, None)
    }

    fn rms_norm_dx_residual(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
        residual: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        gradient(x, weight, dy, eps, Some(residual.to_contiguous()))
    }
}

fn gradient(
    x: FloatTensor<Flex>,
    weight: FloatTensor<Flex>,
    dy: FloatTensor<Flex>,
    eps: f64,
    residual: Option<FloatTensor<Flex>>,
) -> FloatTensor<Flex> {
    let (x, weight, dy) = (x.to_contiguous(), weight.to_contiguous(), dy.to_contiguous());
    let (Some(from), Some(w), Some(back)) = (floats(&x), floats(&weight), floats(&dy)) else {
        let dx = reference::dx::<Flex>(x, weight, dy, eps);
        return match residual {
            None => dx,
            Some(residual) => Flex::float_add(residual, dx),
        };
    };
    let mut dx = vec![0.0; from.len()];
    let gradient =
        Gradient { x: from, weight: w, dy: back, residual: residual.as_ref().and_then(floats), eps: eps as f32 };
    in_parts(&mut dx, ROWS * w.len(), &gradient);
    tensor(dx, x.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{assert_close, wave};

    /// Against the reference: sums of up to 100 squares in another order.
    #[test]
    fn values_and_gradients_are_the_references() {
        for shape in [[1, 1, 1], [1, 3, 7], [2, 17, 16], [1, 33, 100]] {
            for most in [1e-3, 1.0, 1e3] {
                let (x, dy) = (wave(shape, 0.3, most), wave(shape, 1.7, 1.0));
                let weight = wave([shape[2]], 0.9, 2.0);
                let name = format!("{shape:?}, ±{most}");
                let y = Flex::rms_norm_forward(x.clone(), weight.clone(), 1e-5);
                assert_close(&y, &reference::forward::<Flex>(x.clone(), weight.clone(), 1e-5), 1e-5, &name);
                let dx = Flex::rms_norm_dx(x.clone(), weight.clone(), dy.clone(), 1e-5);
                let want = reference::dx::<Flex>(x.clone(), weight.clone(), dy.clone(), 1e-5);
                assert_close(&dx, &want, 1e-4, &format!("dx of {name}"));
                let residual = wave(shape, 2.3, 1.0);
                let added = Flex::rms_norm_dx_residual(x, weight, dy, 1e-5, residual.clone());
                assert_close(&added, &Flex::float_add(residual, want), 1e-4, &format!("dx of {name}, added"));
            }
        }
    }
}
