//! The layer's products on graphics adapters: by kernels where those pay, else by the engine.

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::products::{Addend, Orientation, Product, Products};
use super::reference::{self, LinearOps};
use super::weight::{Weight, Weights};
use crate::several::{Several, laid};
use crate::shader::{reads_words, suit};

impl LinearOps for CubeBackend {
    fn linear_forward(x: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        let products = Products::new(Orientation::Nt, [Product::new(x.clone(), weight.clone())]);
        only(products).unwrap_or_else(|| reference::linear_forward::<Self>(x, weight))
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        let products = Products::new(Orientation::Nn, [Product::new(dy.clone(), weight.clone())]);
        only(products).unwrap_or_else(|| reference::linear_dx::<Self>(dy, weight))
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let product = Product { scale, ..Product::new(dy.clone(), Weight::Floats(x.clone())) };
        let products = Products::new(Orientation::Tn, [product]);
        only(products).unwrap_or_else(|| reference::linear_dw::<Self>(dy, x, scale))
    }

    fn layers_t(x: FloatTensor<Self>, a: Several<Self>) -> Several<Self> {
        let each = a.0.iter().map(|a| Product::new(x.clone(), Weight::Floats(a.clone())));
        let made = Products::new(Orientation::Nt, each).made();
        made.map_or_else(|| reference::layers_t::<Self>(x, a), Several)
    }

    fn layers_y(
        x: FloatTensor<Self>,
        weights: Weights<Self>,
        t: Several<Self>,
        b: Several<Self>,
        scales: Vec<f32>,
        onto: Several<Self>,
    ) -> Several<Self> {
        let addends = addends(&t, &b, &scales);
        let each = weights.0.iter().zip(addends).map(|(weight, addend)| {
            let product = Product::new(x.clone(), weight.clone());
            Product { addend, ..product }
        });
        let products = Products { onto: onto.0.first().cloned(), ..Products::new(Orientation::Nt, each) };
        let made = products.made();
        made.map_or_else(|| reference::layers_y::<Self>(x, weights, t, b, &scales, onto), Several)
    }

    fn layers_dt(dy: Several<Self>, b: Several<Self>) -> Several<Self> {
        let each = dy.0.iter().zip(&b.0).map(|(dy, b)| Product::new(dy.clone(), Weight::Floats(b.clone())));
        let made = Products::new(Orientation::Nn, each).made();
        made.map_or_else(|| reference::layers_dt::<Self>(dy, b), Several)
    }

    fn layers_dx(
        dy: Several<Self>,
        weights: Weights<Self>,
        dt: Several<Self>,
        a: Several<Self>,
        scales: Vec<f32>,
    ) -> FloatTensor<Self> {
        let addends = addends(&dt, &a, &scales);
        let each = dy.0.iter().zip(&weights.0).zip(addends).map(|((dy, weight), addend)| {
            let product = Product::new(dy.clone(), weight.clone());
            Product { addend, ..product }
        });
        let products = Products { summed: true, ..Products::new(Orientation::Nn, each) };
        only(products).unwrap_or_else(|| reference::layers_dx::<Self>(dy, weights, dt, a, &scales))
    }

    fn layers_dw(dy: Several<Self>, x: Several<Self>, scales: Vec<f32>) -> Several<Self> {
        let each = dy.0.iter().zip(&x.0).zip(&scales).map(|((dy, x), scale)| {
            let product = Product::new(dy.clone(), Weight::Floats(x.clone()));
            Product { scale: *scale, ..product }
        });
        let made = Products::new(Orientation::Tn, each).made();
        made.map_or_else(|| reference::layers_dw::<Self>(dy, x, &scales), Several)
    }

    fn lay_together(Weights(weights): Weights<Self>) -> Weights<Self> {
        let floats: Option<Vec<_>> = weights.iter().map(|weight| weight.as_floats().cloned()).collect();
        if let Some(floats) = floats {
            return match floats.iter().all(|floats| suit([floats])) {
                true => Weights(laid(floats, 1).into_iter().map(Weight::Floats).collect()),
                false => Weights(weights),
            };
        }
        let Some(Weight::Packed { dtype, .. }) = weights.first() else { return Weights(weights) };
        let words: Option<Vec<_>> = weights.iter().map(|weight| weight.as_words(*dtype).cloned()).collect();
        match words.filter(|words| words.iter().all(reads_words)) {
            // Each begins with a whole block.
            Some(words) => Weights(laid(words, dtype.block_words()).into_iter().zip(&weights).map(placed).collect()),
            None => Weights(weights),
        }
    }
}

/// Words that are somewhere else now.
fn placed((to, from): (CubeTensor, &Weight<CubeBackend>)) -> Weight<CubeBackend> {
    match from {
        Weight::Packed { dtype, columns, .. } => Weight::Packed { words: to, dtype: *dtype, columns: *columns },
        Weight::Floats(_) => Weight::Floats(to),
    }
}

fn only(products: Products) -> Option<FloatTensor<CubeBackend>> {
    products.made()?.pop()
}

/// For each layer what its factors add; nothing for layers without.
fn addends<'a>(
    lhs: &'a Several<CubeBackend>,
    rhs: &'a Several<CubeBackend>,
    scales: &'a [f32],
) -> impl Iterator<Item = Option<Addend>> + 'a {
    let pairs = lhs.0.iter().zip(&rhs.0).zip(scales);
    let some = pairs.map(|((lhs, rhs), scale)| Some(Addend { lhs: lhs.clone(), rhs: rhs.clone(), scale: *scale }));
    some.chain(std::iter::repeat(None))
}
