//! Blocks as GGUF files have them (ggml-common.h of llama.cpp), kept in their own bits.
//!
//! A number is `scale · (q − zero) − minimum`, or `scale · table[q]`: an integer q of a few bits, and what a block, or a
//! part of one, shares. Scales and minima are products of an f16 and an integer of at most 8 bits, which f32 holds
//! exactly, so that a number has at most one rounding and is, to the bit, what the file says.
//!
//! On the device a block is words of 32 bits, whatever its bytes in the file: a word of one or two f16; where parts have
//! scales of their own, a byte for each scale, then for each minimum; the low bits of all numbers in order, then the high
//! bits.

use super::repack;

/// How a GGUF file has a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // They are names.
pub enum BlockFormat {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
}

/// What integers of IQ4 formats stand for.
pub const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// What a block's first word holds, and what comes of it; numbered as `shaders/blocks.wgsl` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scales {
    /// One scale.
    One,
    /// A scale for each half of the block.
    Halves,
    /// A scale, and what is added to each number.
    Added,
    /// A scale that each part's signed byte is multiplied by.
    Parts,
    /// The same, and one for the parts' minima.
    PartsAndMinima,
}

/// Where a block has what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Numbers.
    pub block: usize,
    /// Low bits of a number: 2, 4 or 8, of which the last are signed.
    pub low: usize,
    /// High bits of a number: 0, 1 or 2.
    pub high: usize,
    pub scales: Scales,
    /// Numbers that share a scale.
    pub part: usize,
    /// What is taken off an integer.
    pub zero: i32,
    /// Whether integers are places in [`IQ4`].
    pub table: bool,
}

impl Layout {
    /// Words before the numbers.
    pub const fn head(self) -> usize {
        let bytes = self.block / self.part;
        match self.scales {
            Scales::One | Scales::Halves | Scales::Added => 1,
            Scales::Parts => 1 + bytes / 4,
            Scales::PartsAndMinima => 1 + 2 * bytes / 4,
        }
    }

    /// Words of the low bits.
    pub const fn low_words(self) -> usize {
        self.low * self.block / 32
    }

    /// Words in all.
    pub const fn words(self) -> usize {
        self.head() + self.low_words() + self.high * self.block / 32
    }
}

impl BlockFormat {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Tq1_0,
        Self::Tq2_0,
    ];

    /// As llama.cpp names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
            Self::Tq1_0 => "TQ1_0",
            Self::Tq2_0 => "TQ2_0",
        }
    }

    /// The one that llama.cpp calls so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Numbers and bytes of a block in a file.
    pub const fn in_file(self) -> (usize, usize) {
        match self {
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Iq4Xs => (256, 136),
            Self::Tq1_0 => (256, 54),
            Self::Tq2_0 => (256, 66),
        }
    }

    /// Where a block on the device has what. Formats of 32 numbers with one f16 lie there in pairs, so that they are as
    /// large as in the file.
    pub(crate) const fn layout(self) -> Layout {
        let pair = Layout { block: 64, low: 4, high: 0, scales: Scales::Halves, part: 32, zero: 0, table: false };
        let one = Layout { block: 32, scales: Scales::Added, ..pair };
        let parts = Layout { block: 256, scales: Scales::Parts, part: 16, ..pair };
        let minima = Layout { scales: Scales::PartsAndMinima, ..parts };
        match self {
            Self::Q4_0 => Layout { zero: 8, ..pair },
            Self::Q5_0 => Layout { high: 1, zero: 16, ..pair },
            Self::Q8_0 => Layout { low: 8, ..pair },
            Self::Iq4Nl => Layout { table: true, ..pair },
            Self::Q4_1 => one,
            Self::Q5_1 => Layout { high: 1, ..one },
            Self::Q2K => Layout { low: 2, ..minima },
            Self::Q3K => Layout { low: 2, high: 1, zero: 4, ..parts },
            Self::Q4K => Layout { part: 32, ..minima },
            Self::Q5K => Layout { part: 32, high: 1, ..minima },
            Self::Q6K => Layout { high: 2, zero: 32, ..parts },
            Self::Iq4Xs => Layout { part: 32, table: true, ..parts },
            Self::Tq1_0 | Self::Tq2_0 => Layout { low: 2, zero: 1, scales: Scales::One, part: 256, ..parts },
        }
    }

    /// Blocks of a file for a matrix of these sides, of numbers of all signs of about a tenth: the integers are noise, and
    /// so are what parts of a block have.
    pub fn noise(self, [rows, columns]: [usize; 2]) -> Vec<u8> {
        /// An f16 of 0.0098, and of −0.0049.
        const SCALES: [u16; 2] = [0x2105, 0x9d05];
        let (numbers, bytes) = self.in_file();
        let mut state = 0x9e37_79b9_u32;
        let mut noise: Vec<u8> = (0..rows * columns / numbers * bytes)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        for (i, block) in noise.chunks_exact_mut(bytes).enumerate() {
            for (k, at) in self.halves().iter().enumerate() {
                // Scales of parts make numbers larger.
                let smaller = if numbers == 256 && self.layout().part < 256 { 4 << 10 } else { 0 };
                block[*at..at + 2].copy_from_slice(&(SCALES[(i + k) % 2] - smaller).to_le_bytes());
            }
        }
        noise
    }

    /// Whether all f16 in these blocks are numbers.
    pub(crate) fn is_finite(self, blocks: &[u8]) -> bool {
        // The exponent of infinity and of what is no number: five bits, of which the second byte has all.
        let finite = |block: &[u8]| self.halves().iter().all(|at| block[at + 1] & 0x7c != 0x7c);
        blocks.chunks_exact(self.in_file().1).all(finite)
    }

    /// Where f16 are in a block of a file.
    pub(crate) const fn halves(self) -> &'static [usize] {
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Iq4Nl | Self::Iq4Xs => &[0],
            Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K => &[0, 2],
            Self::Q2K => &[80, 82],
            Self::Q3K => &[108],
            Self::Q6K => &[208],
            Self::Tq1_0 => &[52],
            Self::Tq2_0 => &[64],
        }
    }

    /// Appends the words of a row of whole blocks as a file has them.
    pub(crate) fn repack(self, row: &[u8], words: &mut Vec<i32>) {
        repack::row(self, row, words);
    }
}
