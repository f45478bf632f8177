//! The products of a linear layer, in plain tensor code, for every device that has no kernel of ours.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::FloatDType;

use super::group::{Group, PerLayer};
use super::weight::{Weight, Weights};
use crate::Compute;
use crate::quantized::QuantizedOps;
use crate::tensor_list::TensorList;

/// A linear layer and its two gradients, and layers that read one input, with low-rank updates or without, on matrices. A
/// default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait LinearOps: QuantizedOps {
    /// `x wᵀ` for `x`: `[rows, in]` and `weight`: `[out, in]`. What a device cannot multiply in is f32.
    fn linear_forward(
        x: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        _compute: Compute,
    ) -> FloatTensor<Self> {
        linear_forward::<Self>(x, weight)
    }

    /// The gradient with respect to `x`: `dy w`, for `dy`: `[rows, out]`.
    fn linear_dx(
        dy: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        _compute: Compute,
    ) -> FloatTensor<Self> {
        linear_dx::<Self>(dy, weight)
    }

    /// `scale` times the gradient with respect to `w`: `dyᵀ x`.
    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        linear_dw::<Self>(dy, x, scale)
    }

    /// `x wᵀ + scale · t bᵀ + bias` of each weight, with `t = x aᵀ` where there are factors, and behind these outputs each t
    /// there is, `[rows, rank]`. The output of one layer alone is added to `residual`, if that is given.
    fn grouped_forward(
        x: FloatTensor<Self>,
        #[extension_type] group: Group<Self>,
        #[extension_type] residual: TensorList<Self>,
    ) -> TensorList<Self> {
        grouped_forward::<Self>(x, group, residual)
    }

    /// The sum over layers of `dy w + scale · dt a`, with `dt = dy b` where there are factors, and behind it each dt
    /// there is.
    fn grouped_dx(#[extension_type] dy: TensorList<Self>, #[extension_type] group: Group<Self>) -> TensorList<Self> {
        grouped_dx::<Self>(dy, group)
    }

    /// Each `dt = dy b` alone.
    fn grouped_dt(#[extension_type] dy: TensorList<Self>, #[extension_type] b: PerLayer<Self>) -> TensorList<Self> {
        grouped_dt::<Self>(dy, b)
    }

    /// `scale · dyᵀ x` of each pair: the gradients of a, from dt and the same x each time, and of b, from dy and t.
    fn grouped_dw(
        #[extension_type] dy: TensorList<Self>,
        #[extension_type] x: TensorList<Self>,
        scales: Vec<f32>,
    ) -> TensorList<Self> {
        grouped_dw::<Self>(dy, x, &scales)
    }

    /// `x wᵀ + scale · (x aᵀ) bᵀ + bias` of each layer; the output of one layer alone is added to `residual`, if that
    /// is given.
    fn grouped_linear(
        x: FloatTensor<Self>,
        #[extension_type] group: Group<Self>,
        #[extension_type] residual: TensorList<Self>,
    ) -> TensorList<Self> {
        let count = group.weights.0.len();
        let TensorList(mut made) = Self::grouped_forward(x, group, residual);
        made.truncate(count);
        TensorList(made)
    }

    /// The same matrices, where one dispatch can read all of them, if the device knows such places.
    fn group_weights(#[extension_type] weights: Weights<Self>) -> Weights<Self> {
        weights
    }
}

/// `x wᵀ`.
pub fn linear_forward<B: QuantizedOps>(x: FloatTensor<B>, weight: Weight<B>) -> FloatTensor<B> {
    B::float_matmul(x, B::float_transpose(weight.floats()))
}

/// `dy w`.
pub fn linear_dx<B: QuantizedOps>(dy: FloatTensor<B>, weight: Weight<B>) -> FloatTensor<B> {
    B::float_matmul(dy, weight.floats())
}

/// `scale · dyᵀ x`.
pub fn linear_dw<B: Backend>(dy: FloatTensor<B>, x: FloatTensor<B>, scale: f32) -> FloatTensor<B> {
    scaled::<B>(B::float_matmul(B::float_transpose(dy), x), scale)
}

/// `x wᵀ + scale · t bᵀ + bias` of each, and each `t = x aᵀ`; the small factor is scaled. Updates are in f32.
pub fn grouped_forward<B: LinearOps>(
    x: FloatTensor<B>,
    group: Group<B>,
    TensorList(residual): TensorList<B>,
) -> TensorList<B> {
    let Group { weights: Weights(weights), a, b, scales, bias, compute } = group;
    let exact = |x, factor| B::linear_forward(x, Weight::Floats(factor), Compute::default());
    let t = a.map(|a| exact(x.clone(), a));
    let added = t.iter().zip(b.0).zip(scales).map(|((t, b), scale)| Some(exact(scaled::<B>(t.clone()?, scale), b?)));
    let in_a_row = |bias: FloatTensor<B>| {
        let out = bias.shape().num_elements();
        B::float_reshape(bias, [1, out].into())
    };
    let mut residual = residual.into_iter();
    let made = weights.into_iter().zip(added).zip(bias.map(in_a_row)).map(|((weight, added), bias)| {
        let terms = [added, bias, residual.next()].into_iter().flatten();
        terms.fold(B::linear_forward(x.clone(), weight, compute), |y, term| B::float_add(y, term))
    });
    let made: Vec<_> = made.collect();
    TensorList(made.into_iter().chain(t.into_iter().flatten()).collect())
}

/// `dy b` of each.
pub fn grouped_dt<B: LinearOps>(TensorList(dy): TensorList<B>, b: PerLayer<B>) -> TensorList<B> {
    let dt = |(dy, b): (FloatTensor<B>, Option<FloatTensor<B>>)| {
        Some(B::linear_dx(dy, Weight::Floats(b?), Compute::default()))
    };
    TensorList(dy.into_iter().zip(b.0).filter_map(dt).collect())
}

/// The sum of `dy w + scale · dt a`, and each `dt = dy b`; the small factor is scaled. Of no layers it is of no numbers.
pub fn grouped_dx<B: LinearOps>(TensorList(dy): TensorList<B>, group: Group<B>) -> TensorList<B> {
    let Group { weights: Weights(weights), a, b, scales, compute, .. } = group;
    let TensorList(dt) = B::grouped_dt(TensorList(dy.clone()), b);
    let whole = dy.into_iter().zip(weights).map(|(dy, weight)| B::linear_dx(dy, weight, compute));
    let added = a.places(dt.iter().cloned()).into_iter().zip(a.0).zip(scales);
    let exact = |dt, a| B::linear_dx(dt, Weight::Floats(a), Compute::default());
    let added = added.filter_map(|((dt, a), scale)| Some(exact(scaled::<B>(dt?, scale), a?)));
    let sum = whole.chain(added).reduce(|sum, dx| B::float_add(sum, dx));
    let sum = sum.unwrap_or_else(|| B::float_zeros([0, 0].into(), &Default::default(), FloatDType::F32));
    TensorList(std::iter::once(sum).chain(dt).collect())
}

/// `scale · dyᵀ x` of each pair.
pub fn grouped_dw<B: LinearOps>(
    TensorList(dy): TensorList<B>,
    TensorList(x): TensorList<B>,
    scales: &[f32],
) -> TensorList<B> {
    let pairs = dy.into_iter().zip(x).zip(scales);
    TensorList(pairs.map(|((dy, x), scale)| B::linear_dw(dy, x, *scale)).collect())
}

fn scaled<B: Backend>(x: FloatTensor<B>, scale: f32) -> FloatTensor<B> {
    if scale == 1.0 { x } else { B::float_mul_scalar(x, scale.into()) }
}
