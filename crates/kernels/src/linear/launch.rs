//! The layer's products on graphics adapters: by kernels where those pay, else by burn.

use burn::backend::tensor::FloatTensor;
use burn::tensor::FloatDType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::engine;
use super::epilogue::Epilogue;
use super::group::{Group, PerLayer};
use super::products::{LowRank, Product, Products};
use super::reference::{self, LinearOps};
use super::size::Orientation;
use super::weight::{Weight, Weights};
use crate::compute::{Compute, Half};
use crate::shader::{reads_words, suit};
use crate::tensor_list::{TensorList, copied_to_one_buffer};

impl LinearOps for CubeBackend {
    fn linear_forward(x: FloatTensor<Self>, weight: Weight<Self>, compute: Compute) -> FloatTensor<Self> {
        let products = Products::new(Orientation::Nt, [Product::new(x.clone(), weight.clone())]);
        only(Products { half: of_tiles(compute, false), ..products })
            .unwrap_or_else(|| engine::product(x, weight, Orientation::Nt, compute))
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: Weight<Self>, compute: Compute) -> FloatTensor<Self> {
        let products = Products::new(Orientation::Nn, [Product::new(dy.clone(), weight.clone())]);
        only(Products { half: of_tiles(compute, true), ..products })
            .unwrap_or_else(|| engine::product(dy, weight, Orientation::Nn, compute))
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let product = Product { scale, ..Product::new(dy.clone(), Weight::Floats(x.clone())) };
        let products = Products::new(Orientation::Tn, [product]);
        only(products).unwrap_or_else(|| reference::linear_dw::<Self>(dy, x, scale))
    }

    fn grouped_forward(x: FloatTensor<Self>, group: Group<Self>, residual: TensorList<Self>) -> TensorList<Self> {
        let epilogue = residual.0.first().cloned().map_or(Epilogue::None, Epilogue::Residual);
        let products = Products { epilogue, ..forward(&x, &group) };
        match products.made() {
            Some(made) => TensorList([made.outputs, made.low].concat()),
            None => reference::grouped_forward::<Self>(x, group, residual),
        }
    }

    fn grouped_dx(dy: TensorList<Self>, group: Group<Self>) -> TensorList<Self> {
        let products = Products { summed: true, ..backward(&dy, &group) };
        match products.made() {
            Some(made) => TensorList([made.outputs, made.low].concat()),
            None => reference::grouped_dx::<Self>(dy, group),
        }
    }

    fn grouped_dt(dy: TensorList<Self>, b: PerLayer<Self>) -> TensorList<Self> {
        let both = dy.0.iter().zip(&b.0).filter_map(|(dy, b)| Some((dy.clone(), b.clone()?)));
        let each = both.map(|(dy, b)| Product::new(dy, Weight::Floats(b)));
        let made = Products::new(Orientation::Nn, each).made();
        made.map_or_else(|| reference::grouped_dt::<Self>(dy, b), |made| TensorList(made.outputs))
    }

    fn grouped_dw(dy: TensorList<Self>, x: TensorList<Self>, scales: Vec<f32>) -> TensorList<Self> {
        let each = dy.0.iter().zip(&x.0).zip(&scales).map(|((dy, x), scale)| {
            let product = Product::new(dy.clone(), Weight::Floats(x.clone()));
            Product { scale: *scale, ..product }
        });
        let made = Products::new(Orientation::Tn, each).made();
        made.map_or_else(|| reference::grouped_dw::<Self>(dy, x, &scales), |made| TensorList(made.outputs))
    }

    fn group_weights(Weights(weights): Weights<Self>) -> Weights<Self> {
        let floats: Option<Vec<_>> = weights.iter().map(|weight| weight.as_floats().cloned()).collect();
        if let Some(floats) = floats {
            return match floats.iter().all(|floats| suit([floats])) {
                true => Weights(copied_to_one_buffer(floats, 1).into_iter().map(Weight::Floats).collect()),
                false => Weights(weights),
            };
        }
        let Some(Weight::Quantized { format, .. }) = weights.first() else { return Weights(weights) };
        let words: Option<Vec<_>> = weights.iter().map(|weight| weight.as_words(*format).cloned()).collect();
        match words.filter(|words| words.iter().all(reads_words)) {
            // Each begins with a whole block.
            Some(words) => Weights(
                copied_to_one_buffer(words, format.block_words()).into_iter().zip(&weights).map(placed).collect(),
            ),
            None => Weights(weights),
        }
    }
}

/// Words that are somewhere else now.
fn placed((to, from): (CubeTensor, &Weight<CubeBackend>)) -> Weight<CubeBackend> {
    match from {
        Weight::Quantized { format, columns, .. } => {
            Weight::Quantized { words: to, format: *format, columns: *columns }
        }
        Weight::Floats(_) => Weight::Floats(to),
    }
}

fn only(products: Products) -> Option<FloatTensor<CubeBackend>> {
    products.made()?.outputs.pop()
}

/// The products that give the outputs of layers.
pub fn forward(x: &CubeTensor, group: &Group<CubeBackend>) -> Products {
    let Group { weights, a, b, scales, bias, compute } = group;
    let each = weights.0.iter().zip(updates(a, b, scales)).zip(&bias.0).map(|((weight, update), bias)| {
        let product = Product::new(x.clone(), weight.clone());
        Product { update, bias: bias.clone(), ..product }
    });
    Products { half: of_tiles(*compute, false), ..Products::new(Orientation::Nt, each) }
}

/// Those that give the gradient of their input, one for each layer.
pub fn backward(dy: &TensorList<CubeBackend>, group: &Group<CubeBackend>) -> Products {
    let Group { weights, a, b, scales, compute, .. } = group;
    let each = dy.0.iter().zip(&weights.0).zip(updates(b, a, scales)).map(|((dy, weight), update)| {
        let product = Product::new(dy.clone(), weight.clone());
        Product { update, ..product }
    });
    Products { half: of_tiles(*compute, true), ..Products::new(Orientation::Nn, each) }
}

/// What tiles have in the place of f32; shaders know f16.
fn of_tiles(compute: Compute, backward: bool) -> Option<Half> {
    compute.half(backward).filter(|half| half.dtype == FloatDType::F16)
}

/// For each layer its update, of what it is multiplied by first and then.
fn updates<'a>(
    down: &'a PerLayer<CubeBackend>,
    up: &'a PerLayer<CubeBackend>,
    scales: &'a [f32],
) -> impl Iterator<Item = Option<LowRank>> + 'a {
    let layers = down.0.iter().zip(&up.0).zip(scales);
    layers.map(|((down, up), scale)| Some(LowRank { down: down.clone()?, up: up.clone()?, scale: *scale }))
}
