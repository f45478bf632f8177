//! The three products on the CPU: each core makes a band of the output by itself.
//!
//! The engine's own product lets all cores work on one packed block at a time, and they wait for each other at every
//! block; at the sizes of a training step that leaves a quarter of the time unused. Bands need no waiting. They run
//! along the longer side of the output, so that the operand which every core packs for itself is the shorter one.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::reference::{self, LinearOps};
use crate::cpu::{Matrix, WORTH_A_CORE, each, floats, product_at, tensor};

/// Where cores write: each to a band of its own.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: `sum_of_products` gives every band to one core, and bands share no number.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// The number at this place. Takes the whole of it, so that closures capture no bare pointer.
    unsafe fn at(self, place: usize) -> *mut f32 {
        // SAFETY: the caller's.
        unsafe { self.0.add(place) }
    }
}

/// A product and what it is multiplied by.
#[derive(Clone, Copy)]
struct Term<'a> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    scale: f32,
}

/// The sum of the terms' `scale · a b`, in row-major order: the first makes each band, the others are added while it is
/// in the cache.
fn sum_of_products<const N: usize>(terms: [Term; N]) -> Vec<f32> {
    let Some([m, n]) = terms.first().map(|term| [term.a.sides[0], term.b.sides[1]]) else { return Vec::new() };
    let mut out: Vec<f32> = Vec::with_capacity(m * n);
    let begun = m * n == 0 || terms[0].a.sides[1] == 0;
    if begun {
        out.resize(m * n, 0.0);
    }
    let to = Output(out.as_mut_ptr());
    let band = |rows: [usize; 2], columns: [usize; 2]| {
        for (i, Term { a, b, scale }) in terms.iter().enumerate().filter(|(_, term)| term.a.sides[1] > 0) {
            let (a, b) = (a.rows(rows[0]..rows[1]), b.turned().rows(columns[0]..columns[1]).turned());
            // SAFETY: the band is within the output, which outlives the call; no other call writes to it.
            unsafe { product_at(to.at(rows[0] * n + columns[0]), n, a, b, *scale, begun || i > 0) }
        }
    };
    let work: usize = terms.iter().map(|term| m * n * term.a.sides[1]).sum();
    let cores = cores().min(work / WORTH_A_CORE).max(1);
    let (long, unit) = if n >= m { (n, 16) } else { (m, 8) };
    // Whole vectors to each core.
    let width = long.div_ceil(cores).next_multiple_of(unit);
    let bands: Vec<[usize; 2]> = (0..long).step_by(width).map(|from| [from, (from + width).min(long)]).collect();
    each(bands, |part| if n >= m { band([0, m], part) } else { band(part, [0, n]) });
    // SAFETY: the room is there, and what is not begun has been written by the first term, band by band.
    unsafe { out.set_len(m * n) };
    out
}

#[cfg(not(target_family = "wasm"))]
fn cores() -> usize {
    rayon::current_num_threads()
}

#[cfg(target_family = "wasm")]
fn cores() -> usize {
    1
}

/// The operands as matrices, or `None` if they are no contiguous floats.
fn matrices<'a, const N: usize>(tensors: [&'a FloatTensor<Flex>; N]) -> Option<[Matrix<'a>; N]> {
    let all: Vec<Matrix> =
        tensors.iter().map(|t| Some(Matrix::new(floats(t)?, [t.shape()[0], t.shape()[1]]))).collect::<Option<_>>()?;
    all.try_into().ok()
}

impl LinearOps for Flex {
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let [x, weight] = [x, weight].map(|t| t.to_contiguous());
        let shape = Shape::from([x.shape()[0], weight.shape()[0]]);
        match matrices([&x, &weight]) {
            Some([a, w]) => tensor(sum_of_products([Term { a, b: w.turned(), scale: 1.0 }]), shape),
            None => reference::linear_forward::<Self>(x, weight),
        }
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let [dy, weight] = [dy, weight].map(|t| t.to_contiguous());
        let shape = Shape::from([dy.shape()[0], weight.shape()[1]]);
        match matrices([&dy, &weight]) {
            Some([a, b]) => tensor(sum_of_products([Term { a, b, scale: 1.0 }]), shape),
            None => reference::linear_dx::<Self>(dy, weight),
        }
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let [dy, x] = [dy, x].map(|t| t.to_contiguous());
        let shape = Shape::from([dy.shape()[1], x.shape()[1]]);
        match matrices([&dy, &x]) {
            Some([a, b]) => tensor(sum_of_products([Term { a: a.turned(), b, scale }]), shape),
            None => reference::linear_dw::<Self>(dy, x, scale),
        }
    }

    fn linear_forward_plus(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        t: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let [x, weight, t, b] = [x, weight, t, b].map(|t| t.to_contiguous());
        let shape = Shape::from([x.shape()[0], weight.shape()[0]]);
        match matrices([&x, &weight, &t, &b]) {
            Some([x, w, t, b]) => {
                let added = Term { a: t, b: b.turned(), scale };
                tensor(sum_of_products([Term { a: x, b: w.turned(), scale: 1.0 }, added]), shape)
            }
            None => reference::linear_forward_plus::<Self>(x, weight, t, b, scale),
        }
    }

    fn linear_dx_plus(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dt: FloatTensor<Self>,
        a: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let [dy, weight, dt, a] = [dy, weight, dt, a].map(|t| t.to_contiguous());
        let shape = Shape::from([dy.shape()[0], weight.shape()[1]]);
        match matrices([&dy, &weight, &dt, &a]) {
            Some([dy, w, dt, a]) => {
                let added = Term { a: dt, b: a, scale };
                tensor(sum_of_products([Term { a: dy, b: w, scale: 1.0 }, added]), shape)
            }
            None => reference::linear_dx_plus::<Self>(dy, weight, dt, a, scale),
        }
    }
}
