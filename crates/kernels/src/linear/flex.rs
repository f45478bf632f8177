//! The layer's products on the CPU, which multiplies in f32 alone.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::group::{Group, PerLayer};
use super::reference::{self, LinearOps};
use super::weight::{Weight, Weights};
use crate::Compute;
use crate::cpu::{Matrix, QuantizedMatrix, Right, Term, floats, integers, sum_of_products, sums_of_products, tensor};
use crate::tensor_list::TensorList;

fn matrix(tensor: &FloatTensor<Flex>) -> Option<Matrix<'_>> {
    Some(Matrix::new(floats(tensor)?, [tensor.shape()[0], tensor.shape()[1]]))
}

fn right(weight: &Weight<Flex>) -> Option<Right<'_>> {
    Some(match weight {
        Weight::Floats(tensor) => Right::Floats(matrix(tensor)?),
        Weight::Quantized { words, format, .. } => {
            Right::Quantized(QuantizedMatrix::new(integers(words)?, *format, weight.sides()))
        }
    })
}

/// The same with its numbers in order.
fn in_order(weight: Weight<Flex>) -> Weight<Flex> {
    match weight {
        Weight::Floats(tensor) => Weight::Floats(tensor.to_contiguous()),
        Weight::Quantized { words, format, columns } => {
            Weight::Quantized { words: words.to_contiguous(), format, columns }
        }
    }
}

impl LinearOps for Flex {
    fn linear_forward(x: FloatTensor<Self>, weight: Weight<Self>, _: Compute) -> FloatTensor<Self> {
        let (x, weight) = (x.to_contiguous(), in_order(weight));
        let shape = Shape::from([x.shape()[0], weight.sides()[0]]);
        match matrix(&x).zip(right(&weight)) {
            Some((a, w)) => tensor(sum_of_products(&[Term { a, b: w.transposed(), scale: 1.0 }]), shape),
            None => reference::linear_forward::<Self>(x, weight),
        }
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: Weight<Self>, _: Compute) -> FloatTensor<Self> {
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
            Some((a, b)) => tensor(sum_of_products(&[Term { a: a.transposed(), b: Right::Floats(b), scale }]), shape),
            None => reference::linear_dw::<Self>(dy, x, scale),
        }
    }

    fn grouped_forward(
        x: FloatTensor<Self>,
        group: Group<Self>,
        TensorList(residual): TensorList<Self>,
    ) -> TensorList<Self> {
        let (x, group) = (x.to_contiguous(), all_in_order(group));
        let rows = x.shape()[0];
        let t = group.a.clone().map(|a| Self::linear_forward(x.clone(), Weight::Floats(a), group.compute));
        let ones = vec![1.0; if group.bias.some().next().is_some() { rows } else { 0 }];
        let terms = group.weights.0.iter().enumerate().map(|(i, weight)| {
            let mut terms = vec![Term { a: matrix(&x)?, b: right(weight)?.transposed(), scale: 1.0 }];
            if let (Some(t), Some(b)) = (&t[i], &group.b.0[i]) {
                terms.push(Term { a: matrix(t)?, b: Right::Floats(matrix(b)?.transposed()), scale: group.scales[i] });
            }
            if let Some(bias) = &group.bias.0[i] {
                // The same for every row: a product of ones, which is added while the output is in the cache.
                let bias = Right::Floats(Matrix::new(floats(bias)?, [1, weight.sides()[0]]));
                terms.push(Term { a: Matrix::new(&ones, [rows, 1]), b: bias, scale: 1.0 });
            }
            Some(terms)
        });
        let Some(terms) = terms.collect::<Option<Vec<_>>>() else {
            return reference::grouped_forward::<Self>(x, group, TensorList(residual));
        };
        let sums = sums_of_products(&terms.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let sums = sums.into_iter().zip(&group.weights.0);
        let mut all: Vec<_> = sums.map(|(y, weight)| tensor(y, [rows, weight.sides()[0]].into())).collect();
        for (y, residual) in all.iter_mut().zip(residual) {
            *y = Self::float_add(y.clone(), residual);
        }
        TensorList(all.into_iter().chain(t.into_iter().flatten()).collect())
    }

    fn grouped_dx(TensorList(dy): TensorList<Self>, group: Group<Self>) -> TensorList<Self> {
        let dy: Vec<_> = dy.into_iter().map(|dy| dy.to_contiguous()).collect();
        let group = all_in_order(group);
        let TensorList(dt) = Self::grouped_dt(TensorList(dy.clone()), group.b.clone());
        let whole = dy.iter().zip(&group.weights.0);
        let whole = whole.map(|(dy, weight)| Some(Term { a: matrix(dy)?, b: right(weight)?, scale: 1.0 }));
        let updates = group.a.0.iter().zip(&group.scales).filter_map(|(a, scale)| Some((a.as_ref()?, *scale)));
        let added = dt.iter().zip(updates);
        let added = added.map(|(dt, (a, scale))| Some(Term { a: matrix(dt)?, b: Right::Floats(matrix(a)?), scale }));
        let terms: Option<Vec<_>> = whole.chain(added).collect();
        match (terms, dy.first(), group.weights.0.first()) {
            (Some(terms), Some(dy), Some(weight)) => {
                let dx = tensor(sum_of_products(&terms), [dy.shape()[0], weight.sides()[1]].into());
                TensorList([vec![dx], dt].concat())
            }
            _ => reference::grouped_dx::<Self>(TensorList(dy), group),
        }
    }
}

fn all_in_order(Group { weights, a, b, scales, bias, compute }: Group<Flex>) -> Group<Flex> {
    let weights = Weights(weights.0.into_iter().map(in_order).collect());
    let [a, b, bias] = [a, b, bias].map(|of| PerLayer(of.map(|one| one.to_contiguous())));
    Group { weights, a, b, scales, bias, compute }
}
