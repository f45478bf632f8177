//! Matrix products on the CPU: each core makes a band of the output by itself.
//!
//! Burn's own product lets all cores work on one packed block at a time, and they wait for each other at every
//! block; at the sizes of a training step that leaves a quarter of the time unused. Bands need no waiting. They run
//! along the longer side of the output, so that the operand which every core packs for itself is the shorter one.

use super::{Matrix, WORTH_A_CORE, each, product_at, widest};
use crate::quantized::{Spread, WeightFormat, dequantize_row, dots};

/// A quantized matrix in memory, maybe taken as transposed. Some of its rows at a time are dequantized while they are
/// used.
#[derive(Clone, Copy)]
pub struct QuantizedMatrix<'a> {
    words: &'a [i32],
    format: WeightFormat,
    /// Of the matrix as it lies.
    sides: [usize; 2],
    transposed: bool,
}

impl<'a> QuantizedMatrix<'a> {
    pub fn new(words: &'a [i32], format: WeightFormat, sides: [usize; 2]) -> Self {
        Self { words, format, sides, transposed: false }
    }

    /// Words of a row.
    fn of_row(&self) -> usize {
        self.sides[1].div_ceil(self.format.block()) * self.format.block_words()
    }

    /// The rows of `a`, laid for its words, if they are few and it is multiplied without dequantizing it then.
    fn spread(&self, a: Matrix) -> Option<Vec<Spread>> {
        let of_word = self.format.of_word().filter(|_| self.transposed && a.sides[0] <= FEW_ROWS)?;
        (0..a.sides[0]).map(|row| Some(Spread::new(a.row(row)?, of_word))).collect()
    }

    /// `out(row of x, row of this, their product)` for some of its rows.
    fn dots(&self, rows: [usize; 2], x: &[Spread], mut out: impl FnMut(usize, usize, f32)) {
        let of_row = self.of_row();
        let words = &self.words[rows[0] * of_row..rows[1] * of_row];
        for (i, x) in x.iter().enumerate() {
            dots(words, of_row, self.format, x, |row, dot| out(i, rows[0] + row, dot));
        }
    }

    /// The columns `from..to` of some of its rows; `from` is the beginning of a block.
    fn dequantize(&self, rows: [usize; 2], [from, to]: [usize; 2], into: &mut Vec<f32>) {
        let of_row = self.of_row();
        let skipped = from / self.format.block() * self.format.block_words();
        into.resize((rows[1] - rows[0]) * (to - from), 0.0);
        widest(
            #[inline(always)]
            || {
                for (row, out) in (rows[0]..rows[1]).zip(into.chunks_exact_mut((to - from).max(1))) {
                    dequantize_row(&self.words[row * of_row..(row + 1) * of_row][skipped..], self.format, out);
                }
            },
        );
    }
}

/// The right side of a product.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    Floats(Matrix<'a>),
    Quantized(QuantizedMatrix<'a>),
}

impl Right<'_> {
    pub fn transposed(self) -> Self {
        match self {
            Self::Floats(matrix) => Self::Floats(matrix.transposed()),
            Self::Quantized(matrix) => Self::Quantized(QuantizedMatrix { transposed: !matrix.transposed, ..matrix }),
        }
    }

    fn sides(self) -> [usize; 2] {
        match self {
            Self::Floats(matrix) => matrix.sides,
            Self::Quantized(QuantizedMatrix { sides: [rows, columns], transposed, .. }) => {
                if transposed {
                    [columns, rows]
                } else {
                    [rows, columns]
                }
            }
        }
    }
}

/// Where cores write: each to a band of its own.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: every band is given to one core, and bands share no number.
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

/// Rows that are dequantized at a time: with 1,024 columns they fill a quarter of a megabyte, which a core keeps near.
const DEQUANTIZED: usize = 64;

/// Rows up to which a matrix's words are unpacked for each of them anew, which takes a quarter of what dequantizing does.
const FEW_ROWS: usize = 4;

/// A product and what it is multiplied by.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    pub a: Matrix<'a>,
    pub b: Right<'a>,
    pub scale: f32,
}

/// The sum of the terms' `scale · a b`, in row-major order: the first makes each band, the others are added while it is
/// in the cache.
pub fn sum_of_products(terms: &[Term]) -> Vec<f32> {
    sums_of_products(&[terms]).pop().unwrap_or_default()
}

/// Several such sums, of which all bands are worked on together: cores are woken once.
pub fn sums_of_products(sums: &[&[Term]]) -> Vec<Vec<f32>> {
    let mut sums: Vec<Sum> = sums.iter().map(|terms| Sum::new(terms)).collect();
    let to: Vec<Output> = sums.iter_mut().map(|sum| Output(sum.out.as_mut_ptr())).collect();
    let of_sum = |(sum, to): (_, Output)| Sum::bands(sum).into_iter().map(move |band| (sum, to, band));
    let bands: Vec<(&Sum, Output, Band)> = sums.iter().zip(to).flat_map(of_sum).collect();
    // SAFETY: each band is of one sum, and within its output, which outlives the call; no other writes to it.
    each(bands, |(sum, to, band)| unsafe { sum.make(band, to) });
    sums.into_iter().map(Sum::made).collect()
}

/// Rows and columns of an output.
type Band = [[usize; 2]; 2];

/// A sum of products that is made.
struct Sum<'a> {
    terms: &'a [Term<'a>],
    /// The rows of each term's left side as its words are unpacked, if these are.
    spread: Vec<Option<Vec<Spread>>>,
    sides: [usize; 2],
    out: Vec<f32>,
    /// Whether the output has numbers already, to which all terms are added.
    begun: bool,
}

impl<'a> Sum<'a> {
    fn new(terms: &'a [Term<'a>]) -> Self {
        let sides @ [m, n] = terms.first().map_or([0, 0], |term| [term.a.sides[0], term.b.sides()[1]]);
        let mut out: Vec<f32> = Vec::with_capacity(m * n);
        let begun = m * n == 0 || terms.first().is_none_or(|term| term.a.sides[1] == 0);
        if begun {
            out.resize(m * n, 0.0);
        }
        let spread = |term: &Term| match term.b {
            Right::Quantized(b) => b.spread(term.a),
            Right::Floats(_) => None,
        };
        Self { terms, spread: terms.iter().map(spread).collect(), sides, out, begun }
    }

    /// What each core makes by itself.
    fn bands(&self) -> Vec<Band> {
        let [m, n] = self.sides;
        let work: usize = self.terms.iter().map(|term| m * n * term.a.sides[1]).sum();
        let cores = cores().min(work / WORTH_A_CORE).max(1);
        // What is quantized is dequantized once if no two bands share columns.
        let blocks = self.terms.iter().filter_map(|term| match term.b {
            Right::Quantized(matrix) => Some(if matrix.transposed { 16 } else { matrix.format.block() }),
            Right::Floats(_) => None,
        });
        let block = blocks.max();
        let across = block.is_some() || n >= m;
        // Whole vectors to each core, and whole blocks of what is quantized.
        let (long, unit) = if across { (n, block.unwrap_or(16)) } else { (m, 8) };
        let parts = parts([0, long], long.div_ceil(cores).next_multiple_of(unit));
        parts.map(|part| if across { [[0, m], part] } else { [part, [0, n]] }).collect()
    }

    /// # Safety
    /// `to` is the output, and nothing else reads or writes this band of it meanwhile.
    unsafe fn make(&self, [rows, columns]: Band, to: Output) {
        let [_, n] = self.sides;
        let piece = |columns: [usize; 2], a: Matrix, b: Matrix, scale: f32, adds: bool| {
            // SAFETY: the caller's.
            unsafe { product_at(to.at(rows[0] * n + columns[0]), n, a.rows(rows[0]..rows[1]), b, scale, adds) };
        };
        let mut dequantized = Vec::new();
        for (i, Term { a, b, scale }) in self.terms.iter().copied().enumerate().filter(|(_, t)| t.a.sides[1] > 0) {
            let adds = self.begun || i > 0;
            match b {
                Right::Quantized(b) if let Some(x) = &self.spread[i] => b.dots(columns, x, |row, column, dot| {
                    // SAFETY: the place is within the band, and written before anything is added to it.
                    unsafe {
                        let place = to.at(row * n + column);
                        place.write(scale * dot + if adds { place.read() } else { 0.0 });
                    }
                }),
                Right::Floats(b) => piece(columns, a, b.columns(columns[0]..columns[1]), scale, adds),
                // Its rows are columns of the output.
                Right::Quantized(b @ QuantizedMatrix { sides: [_, depth], transposed: true, .. }) => {
                    for part in parts(columns, DEQUANTIZED) {
                        b.dequantize(part, [0, depth], &mut dequantized);
                        let b = Matrix::new(&dequantized, [part[1] - part[0], depth]).transposed();
                        piece(part, a, b, scale, adds);
                    }
                }
                // Its rows are steps of the depth.
                Right::Quantized(b @ QuantizedMatrix { sides: [depth, _], .. }) => {
                    for part in parts([0, depth], DEQUANTIZED) {
                        b.dequantize(part, columns, &mut dequantized);
                        let b = Matrix::new(&dequantized, [part[1] - part[0], columns[1] - columns[0]]);
                        piece(columns, a.columns(part[0]..part[1]), b, scale, adds || part[0] > 0);
                    }
                }
            }
        }
    }

    /// The output, all of whose bands are made.
    fn made(mut self) -> Vec<f32> {
        let [m, n] = self.sides;
        // SAFETY: the room is there, and what is not begun has been written by the first term, band by band.
        unsafe { self.out.set_len(m * n) };
        self.out
    }
}

/// `from..to` in parts of this width, but for the last.
fn parts([from, to]: [usize; 2], width: usize) -> impl Iterator<Item = [usize; 2]> {
    (from..to).step_by(width.max(1)).map(move |at| [at, (at + width).min(to)])
}

#[cfg(not(target_family = "wasm"))]
fn cores() -> usize {
    rayon::current_num_threads()
}

#[cfg(target_family = "wasm")]
fn cores() -> usize {
    1
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::cpu::{assert_close, tensor, wave};
    use crate::{BlockFormat, QuantizedDtype};

    /// Few rows, which words are unpacked for, and more, for which they are dequantized: alone, added to and adding.
    #[test]
    fn quantized_terms_are_those_of_their_numbers() {
        let rounded = [QuantizedDtype::F16, QuantizedDtype::Int8, QuantizedDtype::Int4].map(WeightFormat::from);
        for format in rounded.into_iter().chain(BlockFormat::ALL.map(WeightFormat::from)) {
            // The second is work for several cores.
            for (out, depth) in [(7, format.whole_blocks(68)), (260, format.whole_blocks(576))] {
                let values = wave([out, depth], 0.3, 1.0);
                let values = crate::cpu::floats(&values).unwrap_or_default();
                let (quantized, numbers) = format.made_of(values, [out, depth], &Device::flex());
                let words: Vec<i32> = quantized.words().into_data().iter::<i32>().collect();
                let sides = [out, depth];
                let quantized = Right::Quantized(QuantizedMatrix::new(&words, format, sides)).transposed();
                let floats = Right::Floats(Matrix::new(&numbers, sides)).transposed();
                for rows in [1, 2, FEW_ROWS, FEW_ROWS + 1] {
                    let [x, t, b] = [[rows, depth], [rows, 3], [3, out]].map(|sides| wave(sides, 1.7, 1.0));
                    let [x, t, b] = [&x, &t, &b].map(|of| crate::cpu::floats(of).unwrap_or_default());
                    let update =
                        Term { a: Matrix::new(t, [rows, 3]), b: Right::Floats(Matrix::new(b, [3, out])), scale: 2.0 };
                    let whole = |b| Term { a: Matrix::new(x, [rows, depth]), b, scale: 0.5 };
                    for order in 0..3 {
                        let terms = |whole| match order {
                            0 => vec![whole],
                            1 => vec![whole, update],
                            _ => vec![update, whole],
                        };
                        let [got, want] =
                            [quantized, floats].map(|b| tensor(sum_of_products(&terms(whole(b))), [rows, out].into()));
                        // Sums of 68 to 768 numbers, in another order.
                        assert_close(&got, &want, 1e-5, &format!("{format:?}, {rows} rows, {sides:?}, {order}"));
                    }
                }
            }
        }
    }
}
