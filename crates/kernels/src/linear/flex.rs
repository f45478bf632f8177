//! The layer's products on the CPU.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::group::Group;
use super::reference::{self, LinearOps};
use super::weight::{Weight, Weights};
use crate::cpu::{Matrix, PackedMatrix, Right, Term, floats, integers, sum_of_products, tensor};
use crate::several::Several;

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
            Some((a, w)) => tensor(sum_of_products(&[Term { a, b: w.turned(), scale: 1.0 }]), shape),
            None => reference::linear_forward::<Self>(x, weight),
        }
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        let (dy, weight) = (dy.to_contiguous(), in_order(weight));
        let shape = Shape::from([dy.shape()[0], weight.sides()[1]]);
        match matrix(&dy).zip(right(&weight)) {
            Some((a, b)) => tensor(sum_of_products(&[Term { a, b, scale: 1.0 }]), shape),
            None => reference::linear_dx::<Self>(dy, weight),
        }
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let [dy, x] = [dy, x].map(|t| t.to_contiguous());
        let shape = Shape::from([dy.shape()[1], x.shape()[1]]);
        match matrix(&dy).zip(matrix(&x)) {
            Some((a, b)) => tensor(sum_of_products(&[Term { a: a.turned(), b: Right::Floats(b), scale }]), shape),
            None => reference::linear_dw::<Self>(dy, x, scale),
        }
    }

    fn layers_forward(x: FloatTensor<Self>, group: Group<Self>, Several(onto): Several<Self>) -> Several<Self> {
        let Group { weights, a, b: Several(b), scales } = group;
        let (x, b) = (x.to_contiguous(), all_in_order(b));
        let t: Vec<_> = a.0.iter().map(|a| Self::linear_forward(x.clone(), Weight::Floats(a.clone()))).collect();
        let weights = Weights(weights.0.into_iter().map(in_order).collect());
        let one = |(i, weight): (usize, &Weight<Self>)| {
            let mut terms = vec![Term { a: matrix(&x)?, b: right(weight)?.turned(), scale: 1.0 }];
            if let (Some(t), Some(b), Some(scale)) = (t.get(i), b.get(i), scales.get(i)) {
                terms.push(Term { a: matrix(t)?, b: Right::Floats(matrix(b)?.turned()), scale: *scale });
            }
            let shape = Shape::from([x.shape()[0], weight.sides()[0]]);
            Some(tensor(sum_of_products(&terms), shape))
        };
        let all: Option<Vec<_>> = weights.0.iter().enumerate().map(one).collect();
        match all {
            Some(all) => Several([reference::plus::<Self>(all, onto), t].concat()),
            None => {
                let group = Group { weights, a, b: Several(b), scales };
                reference::layers_forward::<Self>(x, group, Several(onto))
            }
        }
    }

    fn layers_dx(Several(dy): Several<Self>, group: Group<Self>) -> Several<Self> {
        let Group { weights, a: Several(a), b, scales } = group;
        let [dy, a] = [dy, a].map(all_in_order);
        let Several(dt) = Self::layers_dt(Several(dy.clone()), b.clone());
        let weights = Weights(weights.0.into_iter().map(in_order).collect());
        let whole = dy.iter().zip(&weights.0);
        let whole = whole.map(|(dy, weight)| Some(Term { a: matrix(dy)?, b: right(weight)?, scale: 1.0 }));
        let added = dt.iter().zip(&a).zip(&scales);
        let added =
            added.map(|((dt, a), scale)| Some(Term { a: matrix(dt)?, b: Right::Floats(matrix(a)?), scale: *scale }));
        let terms: Option<Vec<_>> = whole.chain(added).collect();
        match (terms, dy.first(), weights.0.first()) {
            (Some(terms), Some(dy), Some(weight)) => {
                let dx = tensor(sum_of_products(&terms), [dy.shape()[0], weight.sides()[1]].into());
                Several([vec![dx], dt].concat())
            }
            _ => {
                let group = Group { weights, a: Several(a), b, scales };
                reference::layers_dx::<Self>(Several(dy), group)
            }
        }
    }
}

fn all_in_order(tensors: Vec<FloatTensor<Flex>>) -> Vec<FloatTensor<Flex>> {
    tensors.into_iter().map(|tensor| tensor.to_contiguous()).collect()
}
