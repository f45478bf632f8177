//! A row times the rows of a quantized matrix, as generating a text has it: words are unpacked in registers, and nothing is
//! dequantized into memory.
//!
//! Sixteen words of low bits lie side by side, a lane each, and step t unpacks the t-th number of every word. What they
//! meet is laid in that order beforehand. A lane's numbers share a scale and a minimum, which therefore come last:
//! Σ x (s q − m) = s Σ x q − m Σ x, in f32.

use super::blocks::{BlockFormat, Layout, Scales};
use super::{QuantizedDtype, WeightFormat};
use crate::cpu::widest;

/// Words side by side.
pub const LANES: usize = 16;

pub type Lanes = [f32; LANES];

/// How the numbers of a group of words meet those of a row.
pub trait Steps {
    /// Σ x q of each lane, over the integers that a word holds.
    ///
    /// # Safety
    /// The machine has the instructions that these steps are made of.
    unsafe fn steps(layout: Layout, low_bits: &[i32; LANES], high_bits: &[i32; LANES], x: &[Lanes]) -> Lanes;
}

/// As loops, which become vectors of what they are compiled for.
pub struct Loops;

impl Steps for Loops {
    #[inline(always)]
    unsafe fn steps(layout: Layout, low_bits: &[i32; LANES], high_bits: &[i32; LANES], x: &[Lanes]) -> Lanes {
        let Layout { low, high, .. } = layout;
        let mut sums = [0.0; LANES];
        for (t, x) in x.iter().enumerate() {
            for lane in 0..LANES {
                let bits = low_bits[lane];
                // The sign of bytes comes along.
                let lower =
                    if low == 8 { (bits << (24 - 8 * t)) >> 24 } else { (bits >> (low * t)) & ((1 << low) - 1) };
                let upper = if high > 0 { ((high_bits[lane] >> (high * t)) & ((1 << high) - 1)) << low } else { 0 };
                sums[lane] += (lower | upper) as f32 * x[lane];
            }
        }
        sums
    }
}

/// A row in the order in which words are unpacked.
pub struct Spread {
    /// Of each group of words and step: a number for each word.
    numbers: Vec<Lanes>,
    /// Of each group: the sum for each word.
    sums: Vec<Lanes>,
}

impl Spread {
    /// For words that hold so many numbers' low bits.
    pub fn new(row: &[f32], of_word: usize) -> Self {
        let groups = row.len().div_ceil(LANES * of_word);
        let mut spread = Self { numbers: vec![[0.0; LANES]; groups * of_word], sums: vec![[0.0; LANES]; groups] };
        for (i, x) in row.chunks(of_word).enumerate() {
            let (group, lane) = (i / LANES, i % LANES);
            for (numbers, x) in spread.numbers[group * of_word..].iter_mut().zip(x) {
                numbers[lane] = *x;
            }
            spread.sums[group][lane] = x.iter().sum();
        }
        spread
    }
}

/// How words are unpacked.
#[derive(Clone, Copy)]
struct Form {
    layout: Layout,
    /// What a block's first word is multiplied by, if that is an f32 and not one or two f16.
    step: Option<f32>,
}

const fn of_blocks(format: BlockFormat) -> Form {
    Form { layout: format.layout(), step: None }
}

/// Of integers with a sign, which those of 4 bits are made to be without.
const fn rounded(dtype: QuantizedDtype) -> Form {
    let (low, zero) = if dtype.bits() == 4 { (4, 8) } else { (8, 0) };
    let layout = Layout { block: 32, low, high: 0, scales: Scales::One, part: 32, zero, table: false };
    Form { layout, step: Some(1.0 / dtype.steps()) }
}

impl WeightFormat {
    /// Numbers whose low bits are in a word, if [`dots`] knows the format: halves and tables are better dequantized.
    pub(crate) const fn of_word(self) -> Option<usize> {
        match self {
            Self::Rounded(QuantizedDtype::F16) => None,
            Self::Rounded(dtype) => Some(32 / dtype.bits()),
            Self::Blocks(format) if format.layout().table => None,
            Self::Blocks(format) => Some(32 / format.layout().low),
        }
    }
}

/// The products of a row with each row of a matrix, whose `words` are so many to a row, one after the other.
pub fn dots(words: &[i32], of_row: usize, format: WeightFormat, x: &Spread, out: impl FnMut(usize, f32)) {
    #[cfg(target_arch = "x86_64")]
    if let pulp::Arch::V3(_) = pulp::Arch::new() {
        // SAFETY: this level of pulp's has both.
        return unsafe {
            with_avx2(
                #[inline(always)]
                || dots_by::<super::dot_avx2::Avx2>(words, of_row, format, x, out),
            )
        };
    }
    widest(
        #[inline(always)]
        // SAFETY: loops run on any machine.
        || unsafe { dots_by::<Loops>(words, of_row, format, x, out) },
    );
}

/// Work that is compiled for AVX2 and FMA.
///
/// # Safety
/// The machine has them.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn with_avx2(work: impl FnOnce()) {
    work();
}

/// The same by these steps.
///
/// # Safety
/// The machine has what the steps need.
#[inline(always)]
unsafe fn dots_by<S: Steps>(
    words: &[i32],
    of_row: usize,
    format: WeightFormat,
    x: &Spread,
    mut out: impl FnMut(usize, f32),
) {
    // Each with a layout that is known when this is compiled.
    macro_rules! of_form {
        ($form:expr) => {{
            const FORM: Form = $form;
            for (i, row) in words.chunks_exact(of_row).enumerate() {
                // SAFETY: the caller's.
                out(i, unsafe { dot::<S>(FORM, row, x) });
            }
        }};
    }
    match format {
        WeightFormat::Rounded(QuantizedDtype::Int4) => of_form!(rounded(QuantizedDtype::Int4)),
        WeightFormat::Rounded(QuantizedDtype::Int8) => of_form!(rounded(QuantizedDtype::Int8)),
        WeightFormat::Rounded(QuantizedDtype::F16) => {}
        WeightFormat::Blocks(format) => match format {
            BlockFormat::Q4_0 => of_form!(of_blocks(BlockFormat::Q4_0)),
            BlockFormat::Q4_1 => of_form!(of_blocks(BlockFormat::Q4_1)),
            BlockFormat::Q5_0 => of_form!(of_blocks(BlockFormat::Q5_0)),
            BlockFormat::Q5_1 => of_form!(of_blocks(BlockFormat::Q5_1)),
            BlockFormat::Q8_0 => of_form!(of_blocks(BlockFormat::Q8_0)),
            BlockFormat::Q2K => of_form!(of_blocks(BlockFormat::Q2K)),
            BlockFormat::Q3K => of_form!(of_blocks(BlockFormat::Q3K)),
            BlockFormat::Q4K => of_form!(of_blocks(BlockFormat::Q4K)),
            BlockFormat::Q5K => of_form!(of_blocks(BlockFormat::Q5K)),
            BlockFormat::Q6K => of_form!(of_blocks(BlockFormat::Q6K)),
            BlockFormat::Tq1_0 | BlockFormat::Tq2_0 => of_form!(of_blocks(BlockFormat::Tq2_0)),
            BlockFormat::Iq4Nl | BlockFormat::Iq4Xs => {}
        },
    }
}

/// Most words of the blocks of a group.
const MOST_WORDS: usize = 32;

#[inline(always)]
unsafe fn dot<S: Steps>(form: Form, row: &[i32], x: &Spread) -> f32 {
    let layout = form.layout;
    let of_word = 32 / layout.low;
    // A group is of several blocks, or a block of several groups.
    let (blocks, groups) = ((LANES / layout.low_words()).max(1), layout.low_words().div_ceil(LANES));
    let together = blocks * layout.words();
    let mut sums = [0.0; LANES];
    let (whole, of_groups) = (row.chunks_exact(together), groups * of_word);
    let last = row.len() / together;
    let rest = whole.remainder();
    for ((words, x), of_x) in whole.zip(x.numbers.chunks_exact(of_groups)).zip(x.sums.chunks_exact(groups)) {
        // SAFETY: the caller's.
        unsafe { add::<S>(&mut sums, form, words, x, of_x) };
    }
    // Of a block of several groups nothing is left over.
    if !rest.is_empty() && together <= MOST_WORDS {
        let mut padded = [0; MOST_WORDS];
        padded[..rest.len()].copy_from_slice(rest);
        let (x, of_x) = (&x.numbers[last * of_groups..], &x.sums[last * groups..]);
        // SAFETY: the caller's.
        unsafe { add::<S>(&mut sums, form, &padded[..together], x, of_x) };
    }
    sums.iter().sum()
}

/// Adds the products of as many words as fill a group, or several, with the numbers and sums that they meet.
#[inline(always)]
unsafe fn add<S: Steps>(sums: &mut Lanes, form: Form, words: &[i32], x: &[Lanes], sums_of_x: &[Lanes]) {
    let layout = form.layout;
    let of_word = 32 / layout.low;
    for g in 0..layout.low_words().div_ceil(LANES) {
        let (x, of_x) = (&x[g * of_word..(g + 1) * of_word], &sums_of_x[g]);
        let (low_bits, high_bits) = gathered(form, words, g);
        // SAFETY: the caller's.
        let parts = unsafe { S::steps(layout, &low_bits, &high_bits, x) };
        let (scales, minimums) = shared(form, words, g);
        for lane in 0..LANES {
            let parts = parts[lane] - layout.zero as f32 * of_x[lane];
            sums[lane] += scales[lane] * parts - minimums[lane] * of_x[lane];
        }
    }
}

/// The low bits of each lane's numbers, and their high bits from the lowest bit of a word.
#[inline(always)]
fn gathered(form: Form, words: &[i32], g: usize) -> ([i32; LANES], [i32; LANES]) {
    let layout @ Layout { low, high, .. } = form.layout;
    let (of_word, of_block) = (32 / low, layout.low_words());
    let lanes = of_block.min(LANES);
    let mut low_bits = [0; LANES];
    for (bits, block) in low_bits.chunks_exact_mut(lanes).zip(words.chunks_exact(layout.words())) {
        bits.copy_from_slice(&block[layout.head() + LANES * g..][..lanes]);
    }
    if form.step.is_some() && low == 4 {
        low_bits.iter_mut().for_each(|bits| *bits ^= 0x8888_8888_u32 as i32);
    }
    let mut high_bits = [0; LANES];
    if high > 0 {
        // What belongs to a word of low bits is a byte or two of them.
        let a_word = 32 / (high * of_word);
        for (bits, block) in high_bits.chunks_exact_mut(lanes).zip(words.chunks_exact(layout.words())) {
            let words = &block[layout.head() + of_block + LANES * g / a_word..][..lanes / a_word];
            for (bits, word) in bits.chunks_exact_mut(a_word).zip(words) {
                for (i, bits) in bits.iter_mut().enumerate() {
                    *bits = (word >> (32 / a_word * i)) & ((1 << (32 / a_word)) - 1);
                }
            }
        }
    }
    (low_bits, high_bits)
}

/// Scales and minimums of each lane.
#[inline(always)]
fn shared(form: Form, words: &[i32], g: usize) -> (Lanes, Lanes) {
    let layout = form.layout;
    let (lanes, parts) = (layout.low_words().min(LANES), layout.block / layout.part);
    // Lanes that share a scale.
    let alike = (layout.part * layout.low / 32).min(lanes);
    let [mut first, mut second] = [[0; LANES]; 2];
    for (k, block) in words.chunks_exact(layout.words()).take(LANES / lanes).enumerate() {
        for (p, at) in (k * lanes..(k + 1) * lanes).step_by(alike).enumerate() {
            let (part, head) = (g * lanes / alike + p, block[0]);
            let byte = |i: usize| (block[1 + i / 4] << (24 - 8 * (i % 4))) >> 24;
            let (of_first, of_second) = match layout.scales {
                Scales::One | Scales::Added => (head, 0),
                Scales::Halves => (head >> (16 * part), 0),
                Scales::Parts => (byte(part), 0),
                Scales::PartsAndMinima => (byte(part), byte(parts + part)),
            };
            first[at..at + alike].fill(of_first);
            second[at..at + alike].fill(of_second);
        }
    }
    let [mut scales, mut minimums] = [[0.0; LANES]; 2];
    let head = words[0];
    for lane in 0..LANES {
        (scales[lane], minimums[lane]) = match (form.step, layout.scales) {
            (Some(step), _) => (f32::from_bits(first[lane] as u32) * step, 0.0),
            (None, Scales::One | Scales::Halves) => (half(first[lane]), 0.0),
            (None, Scales::Added) => (half(first[lane]), -half(first[lane] >> 16)),
            (None, Scales::Parts) => (half(head) * first[lane] as f32, 0.0),
            (None, Scales::PartsAndMinima) => (half(head) * first[lane] as f32, half(head >> 16) * second[lane] as f32),
        };
    }
    (scales, minimums)
}

/// The f16 in the lower half of a word, which is a number: in plain arithmetic, so that it is done in lanes.
#[inline(always)]
fn half(word: i32) -> f32 {
    // Its exponent counts from 15 and an f32's from 127. The smallest numbers have none, there as here.
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits((word as u32 & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | (word as u32 & 0x8000) << 16)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::quantized::host::{dequantize_row, quantize_row};

    /// Rows of so many numbers in this format, as words.
    fn words(format: WeightFormat, rows: usize, columns: usize) -> Vec<i32> {
        let mut words = Vec::new();
        match format {
            WeightFormat::Rounded(dtype) => {
                let row = |r: usize| (0..columns).map(|i| ((i * 37 + r * 11) % 101) as f32 - 50.0).collect::<Vec<_>>();
                (0..rows).for_each(|r| quantize_row(&row(r), dtype, &mut words));
            }
            WeightFormat::Blocks(format) => {
                let noise = format.noise([rows, columns]);
                noise.chunks(noise.len() / rows).for_each(|row| format.repack(row, &mut words));
            }
        }
        words
    }

    /// As far from the sum of what is dequantized as an f32 is from a number of the size of what is added up.
    #[test]
    fn products_are_those_of_the_numbers() {
        let rounded = [QuantizedDtype::Int4, QuantizedDtype::Int8].map(WeightFormat::Rounded);
        let formats = rounded.into_iter().chain(BlockFormat::ALL.map(WeightFormat::Blocks));
        for format in formats.filter(|format| format.of_word().is_some()) {
            let (unit, sizes) = match format {
                WeightFormat::Rounded(_) => (1, [1, 31, 68, 128, 1000]),
                WeightFormat::Blocks(format) => (format.in_file().0, [1, 2, 3, 9, 18]),
            };
            for columns in sizes.map(|size| size * unit) {
                let (rows, x) = (3, (0..columns).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>());
                let words = words(format, rows, columns);
                let (of_row, mut seen) = (words.len() / rows, Vec::new());
                let spread = Spread::new(&x, format.of_word().unwrap());
                let mut check = |row: usize, dot: f32| {
                    let mut numbers = vec![0.0; columns];
                    dequantize_row(&words[row * of_row..][..of_row], format, &mut numbers);
                    let products = numbers.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    let (want, most) = products.fold((0.0, 0.0), |(sum, most), p| (sum + p, most + p.abs()));
                    let off = (f64::from(dot) - want).abs();
                    assert!(off <= 1e-6 * most, "{format:?}, {columns} numbers, row {row}: {dot} for {want}");
                    seen.push(row);
                };
                dots(&words, of_row, format, &spread, &mut check);
                // SAFETY: loops run on any machine.
                unsafe { dots_by::<Loops>(&words, of_row, format, &spread, &mut check) };
                assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
            }
        }
    }

    #[test]
    fn halves_are_what_they_say() {
        // All that are numbers, of both signs, with something in the other half of the word.
        for bits in (0..0x7c00_u16).flat_map(|bits| [bits, bits | 0x8000]) {
            let want = half::f16::from_bits(bits).to_f32();
            assert_eq!(half(i32::from(bits) | 0x1234 << 16).to_bits(), want.to_bits(), "{bits:#x}");
        }
    }
}
