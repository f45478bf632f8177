//! Activations and their gradients, in burn's own operations.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use super::Activation;

/// Activations, elementwise. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait ActivationOps: Backend {
    /// `f(x)`.
    fn activation_forward(x: FloatTensor<Self>, of: Activation) -> FloatTensor<Self> {
        forward::<Self>(x, of)
    }

    /// The gradient with respect to x, `dy f'(x)`.
    fn activation_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>, of: Activation) -> FloatTensor<Self> {
        backward::<Self>(x, dy, of)
    }
}

/// What `x` is multiplied by in the approximation of gelu, and its cube in relation to it.
pub const TANH_SCALE: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
pub const CUBIC: f64 = 0.044_715;

fn plus<B: Backend>(x: FloatTensor<B>, number: f64) -> FloatTensor<B> {
    B::float_add_scalar(x, number.into())
}

fn times<B: Backend>(x: FloatTensor<B>, number: f64) -> FloatTensor<B> {
    B::float_mul_scalar(x, number.into())
}

fn square<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mul(x.clone(), x)
}

/// The share of `x` that gelu lets through: `Φ(x)`.
fn normal<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    times::<B>(plus::<B>(B::float_erf(times::<B>(x, FRAC_1_SQRT_2)), 1.0), 0.5)
}

/// The hyperbolic tangent, which is ±1 in f32 from 9.1 on. Some drivers of browsers make it of two exponentials, whose quotient
/// is no number beyond 88: Chromium's SwiftShader does.
pub(crate) fn bounded_tanh<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_tanh(B::float_clamp(x, (-10.0).into(), 10.0.into()))
}

/// The hyperbolic tangent in the approximation of gelu.
fn bend<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let stretched = plus::<B>(times::<B>(square::<B>(x.clone()), CUBIC), 1.0);
    bounded_tanh::<B>(times::<B>(B::float_mul(x, stretched), TANH_SCALE))
}

/// `f(x)`.
pub fn forward<B: Backend>(x: FloatTensor<B>, of: Activation) -> FloatTensor<B> {
    match of {
        Activation::Silu => B::float_mul(x.clone(), B::sigmoid(x)),
        Activation::Gelu => B::float_mul(x.clone(), normal::<B>(x)),
        Activation::GeluTanh => {
            let open = plus::<B>(bend::<B>(x.clone()), 1.0);
            times::<B>(B::float_mul(x, open), 0.5)
        }
        Activation::Relu => B::relu(x),
        Activation::Relu2 => square::<B>(B::relu(x)),
    }
}

/// `dy f'(x)`.
pub fn backward<B: Backend>(x: FloatTensor<B>, dy: FloatTensor<B>, of: Activation) -> FloatTensor<B> {
    B::float_mul(dy, slope::<B>(x, of))
}

/// `f'(x)`.
fn slope<B: Backend>(x: FloatTensor<B>, of: Activation) -> FloatTensor<B> {
    match of {
        Activation::Silu => {
            let open = B::sigmoid(x.clone());
            let closed = plus::<B>(B::float_neg(open.clone()), 1.0);
            B::float_mul(open, plus::<B>(B::float_mul(x, closed), 1.0))
        }
        Activation::Gelu => {
            let density = times::<B>(B::float_exp(times::<B>(square::<B>(x.clone()), -0.5)), TANH_SCALE / 2.0);
            B::float_add(normal::<B>(x.clone()), B::float_mul(x, density))
        }
        Activation::GeluTanh => {
            let bent = bend::<B>(x.clone());
            let rise = times::<B>(plus::<B>(times::<B>(square::<B>(x.clone()), 3.0 * CUBIC), 1.0), TANH_SCALE);
            let flat = plus::<B>(B::float_neg(square::<B>(bent.clone())), 1.0);
            let moved = B::float_mul(B::float_mul(x, flat), rise);
            times::<B>(B::float_add(plus::<B>(bent, 1.0), moved), 0.5)
        }
        Activation::Relu => B::relu(B::float_sign(x)),
        Activation::Relu2 => times::<B>(B::relu(x), 2.0),
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl ActivationOps for burn_cubecl::CubeBackend {}
