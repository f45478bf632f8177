//! The layer's products on the CPU.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::reference::{self, LinearOps};
use super::weight::Weight;
use crate::cpu::{Matrix, PackedMatrix, Right, Term, floats, integers, sum_of_products, tensor};

fn matrix(tensor: &FloatTensor<Flex>) -> Option<Matrix<'_>> {
    Some(Matrix::new(floats(tensor)?, [tensor.shape()[0], tensor.shape()[1]]))
}

fn right(weight: &Weight<Flex>) -> Option<Right<'_>> {
    Some(match weight {
        Weight::Floats(tensor) => Right::Floats(matrix(tensor)?),
        Weight::Packed { words, dtype, .. } => {
            Right::Packed(PackedMatrix::new(integers(words)?, *dtype, weight.sides()))
        }
    })
}

/// The same with its numbers in order.
fn in_order(weight: Weight<Flex>) -> Weight<Flex> {
    match weight {
        Weight::Floats(tensor) => Weight::Floats(tensor.to_contiguous()),
        Weight::Packed { words, dtype, columns } => Weight::Packed { words: words.to_contiguous(), dtype, columns },
    }
}

impl LinearOps for Flex {
    fn linear_forward(x: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        let (x, weight) = (x.to_contiguous(), in_order(weight));
        let shape = Shape::from([x.shape()[0], weight.sides()[0]]);
        match matrix(&x).zip(right(&weight)) {
            Some((a, w)) => tensor(sum_of_products([Term { a, b: w.turned(), scale: 1.0 }]), shape),
            None => reference::linear_forward::<Self>(x, weight),
        }
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        let (dy, weight) = (dy.to_contiguous(), in_order(weight));
        let shape = Shape::from([dy.shape()[0], weight.sides()[1]]);
        match matrix(&dy).zip(right(&weight)) {
            Some((a, b)) => tensor(sum_of_products([Term { a, b, scale: 1.0 }]), shape),
            None => reference::linear_dx::<Self>(dy, weight),
        }
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let [dy, x] = [dy, x].map(|t| t.to_contiguous());
        let shape = Shape::from([dy.shape()[1], x.shape()[1]]);
        match matrix(&dy).zip(matrix(&x)) {
            Some((a, b)) => tensor(sum_of_products([Term { a: a.turned(), b: Right::Floats(b), scale }]), shape),
            None => reference::linear_dw::<Self>(dy, x, scale),
        }
    }

    fn linear_forward_plus(
        x: FloatTensor<Self>,
        weight: Weight<Self>,
        t: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let ([x, t, b], weight) = ([x, t, b].map(|t| t.to_contiguous()), in_order(weight));
        let shape = Shape::from([x.shape()[0], weight.sides()[0]]);
        match (matrix(&x), right(&weight), matrix(&t), matrix(&b)) {
            (Some(of_x), Some(w), Some(of_t), Some(of_b)) => {
                let added = Term { a: of_t, b: Right::Floats(of_b).turned(), scale };
                tensor(sum_of_products([Term { a: of_x, b: w.turned(), scale: 1.0 }, added]), shape)
            }
            _ => reference::linear_forward_plus::<Self>(x, weight, t, b, scale),
        }
    }

    fn linear_dx_plus(
        dy: FloatTensor<Self>,
        weight: Weight<Self>,
        dt: FloatTensor<Self>,
        a: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let ([dy, dt, a], weight) = ([dy, dt, a].map(|t| t.to_contiguous()), in_order(weight));
        let shape = Shape::from([dy.shape()[0], weight.sides()[1]]);
        match (matrix(&dy), right(&weight), matrix(&dt), matrix(&a)) {
            (Some(of_dy), Some(w), Some(of_dt), Some(of_a)) => {
                let added = Term { a: of_dt, b: Right::Floats(of_a), scale };
                tensor(sum_of_products([Term { a: of_dy, b: w, scale: 1.0 }, added]), shape)
            }
            _ => reference::linear_dx_plus::<Self>(dy, weight, dt, a, scale),
        }
    }
}
