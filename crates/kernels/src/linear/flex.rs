//! The three products on the CPU: each core makes a band of the output by itself.
//!
//! The engine's own product lets all cores work on one packed block at a time, and they wait for each other at every
//! block; at the sizes of a training step that leaves a quarter of the time unused. Bands need no waiting. They run
//! along the longer side of the output, so that the operand which every core packs for itself is the shorter one.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::reference::{self, LinearOps};
use crate::cpu::{floats, tensor};

/// A matrix of `[rows, columns]` in memory, maybe turned.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    numbers: &'a [f32],
    sides: [usize; 2],
    /// Numbers from a row to the next, and from a column to the next.
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    fn new(numbers: &'a [f32], shape: &Shape) -> Self {
        Self { numbers, sides: [shape[0], shape[1]], strides: [shape[1], 1] }
    }

    fn turned(self) -> Self {
        let ([rows, columns], [down, right]) = (self.sides, self.strides);
        Self { sides: [columns, rows], strides: [right, down], ..self }
    }
}

/// Where cores write: each to a band of its own.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: `product` gives every band to one core, and bands share no number.
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

/// Least multiplications for which another core is worth waking.
const WORTH_A_CORE: usize = 1 << 16;

/// `a b`, in row-major order.
fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    let ([m, k], n) = (a.sides, b.sides[1]);
    debug_assert!(k == b.sides[0] && a.numbers.len() == m * k && b.numbers.len() == k * n);
    let mut out = vec![0.0_f32; m * n];
    if out.is_empty() || k == 0 {
        return out;
    }
    let to = Output(out.as_mut_ptr());
    let band = |rows: [usize; 2], columns: [usize; 2]| {
        // SAFETY: the band is within the output, which outlives the call, and its operands' rows and columns are within
        // theirs; no other call writes to it.
        unsafe {
            gemm::gemm(
                rows[1] - rows[0],
                columns[1] - columns[0],
                k,
                to.at(rows[0] * n + columns[0]),
                1,
                n as isize,
                false,
                a.numbers.as_ptr().add(rows[0] * a.strides[0]),
                a.strides[1] as isize,
                a.strides[0] as isize,
                b.numbers.as_ptr().add(columns[0] * b.strides[1]),
                b.strides[1] as isize,
                b.strides[0] as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    };
    let cores = cores().min(m * n * k / WORTH_A_CORE).max(1);
    let (long, unit) = if n >= m { (n, 16) } else { (m, 8) };
    // Whole vectors to each core.
    let width = long.div_ceil(cores).next_multiple_of(unit);
    let bands: Vec<[usize; 2]> = (0..long).step_by(width).map(|from| [from, (from + width).min(long)]).collect();
    each(&bands, |part| if n >= m { band([0, m], part) } else { band(part, [0, n]) });
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

#[cfg(not(target_family = "wasm"))]
fn each(bands: &[[usize; 2]], make: impl Fn([usize; 2]) + Sync) {
    use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
    if let [one] = bands {
        make(*one);
    } else {
        bands.par_iter().for_each(|band| make(*band));
    }
}

#[cfg(target_family = "wasm")]
fn each(bands: &[[usize; 2]], make: impl Fn([usize; 2])) {
    bands.iter().for_each(|band| make(*band));
}

/// Both operands as matrices, or `None` if they are no contiguous floats.
fn both<R>(a: &FloatTensor<Flex>, b: &FloatTensor<Flex>, with: impl FnOnce(Matrix, Matrix) -> R) -> Option<R> {
    let (x, y) = (floats(a)?, floats(b)?);
    Some(with(Matrix::new(x, &a.shape()), Matrix::new(y, &b.shape())))
}

impl LinearOps for Flex {
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let shape = Shape::from([x.shape()[0], weight.shape()[0]]);
        match both(&x, &weight, |x, w| product(x, w.turned())) {
            Some(y) => tensor(y, shape),
            None => reference::linear_forward::<Self>(x, weight),
        }
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (dy, weight) = (dy.to_contiguous(), weight.to_contiguous());
        let shape = Shape::from([dy.shape()[0], weight.shape()[1]]);
        match both(&dy, &weight, product) {
            Some(dx) => tensor(dx, shape),
            None => reference::linear_dx::<Self>(dy, weight),
        }
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (dy, x) = (dy.to_contiguous(), x.to_contiguous());
        let shape = Shape::from([dy.shape()[1], x.shape()[1]]);
        match both(&dy, &x, |dy, x| product(dy.turned(), x)) {
            Some(dw) => tensor(dw, shape),
            None => reference::linear_dw::<Self>(dy, x),
        }
    }
}
