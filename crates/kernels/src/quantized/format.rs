//! What the words of a quantized matrix are: integers or halves that were made here, or the blocks of a file.

use burn::tensor::Device;

use super::{BlockFormat, Quantized, host};

/// Numbers of a row that are quantized together.
pub(super) const BLOCK: usize = 32;

/// What a number is quantized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantizedDtype {
    /// A half-precision float; beyond ± 65504, that.
    F16,
    /// An integer between ± 127.
    Int8,
    /// An integer between ± 7.
    Int4,
}

impl QuantizedDtype {
    /// Bits of a number.
    pub(crate) const fn bits(self) -> usize {
        match self {
            Self::F16 => 16,
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// Words before the numbers of a block.
    pub(crate) const fn head(self) -> usize {
        match self {
            Self::F16 => 0,
            Self::Int8 | Self::Int4 => 1,
        }
    }

    /// What is left of a row's numbers.
    pub(crate) fn rounded(self, row: &[f32]) -> Vec<f32> {
        let (mut words, mut back) = (Vec::new(), vec![0.0; row.len()]);
        host::quantize_row(row, self, &mut words);
        host::dequantize_row(&words, self.into(), &mut back);
        back
    }

    /// The largest integer; f16 has none, and 1 stands for it.
    pub(crate) const fn steps(self) -> f32 {
        match self {
            Self::F16 => 1.0,
            Self::Int8 => 127.0,
            Self::Int4 => 7.0,
        }
    }
}

/// What the words of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// What floats were quantized to.
    Rounded(QuantizedDtype),
    /// What a GGUF file has, in its own bits.
    Blocks(BlockFormat),
}

impl From<QuantizedDtype> for WeightFormat {
    fn from(dtype: QuantizedDtype) -> Self {
        Self::Rounded(dtype)
    }
}

impl From<BlockFormat> for WeightFormat {
    fn from(format: BlockFormat) -> Self {
        Self::Blocks(format)
    }
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rounded(QuantizedDtype::F16) => "f16",
            Self::Rounded(QuantizedDtype::Int8) => "int8",
            Self::Rounded(QuantizedDtype::Int4) => "int4",
            Self::Blocks(format) => format.name(),
        })
    }
}

impl WeightFormat {
    /// Numbers of a block.
    pub(crate) const fn block(self) -> usize {
        match self {
            Self::Rounded(_) => BLOCK,
            Self::Blocks(format) => format.layout().block,
        }
    }

    /// Words of 32 bits in a block.
    pub(crate) const fn block_words(self) -> usize {
        match self {
            Self::Rounded(dtype) => dtype.head() + dtype.bits() * BLOCK / 32,
            Self::Blocks(format) => format.layout().words(),
        }
    }

    /// Fours of numbers in a block.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(crate) const fn block_fours(self) -> u32 {
        self.block() as u32 / 4
    }

    /// Words of a row of so many numbers.
    pub(super) const fn row_words(self, columns: usize) -> usize {
        columns.div_ceil(self.block()) * self.block_words()
    }

    /// So many numbers, or as many more as make whole blocks of a file.
    pub(crate) fn whole_blocks(self, numbers: usize) -> usize {
        match self {
            Self::Rounded(_) => numbers,
            Self::Blocks(format) => numbers.next_multiple_of(format.in_file().0),
        }
    }

    /// A matrix of these sides, and its numbers: these rounded, or noise where only a file has such blocks.
    pub(crate) fn made_of(self, values: &[f32], sides: [usize; 2], device: &Device) -> (Quantized, Vec<f32>) {
        match self {
            Self::Rounded(dtype) => {
                let rounded = values.chunks(sides[1].max(1)).flat_map(|row| dtype.rounded(row)).collect();
                (Quantized::new(values, sides, dtype, device), rounded)
            }
            Self::Blocks(format) => {
                let (noise, mut numbers) = (format.noise(sides), vec![0.0; sides[0] * sides[1]]);
                let of_row = sides[1] / format.in_file().0 * format.in_file().1;
                for (row, numbers) in noise.chunks(of_row.max(1)).zip(numbers.chunks_mut(sides[1].max(1))) {
                    let mut words = Vec::new();
                    format.repack(row, &mut words);
                    host::dequantize_row(&words, self, numbers);
                }
                (Quantized::of_blocks(&noise, sides, format, device), numbers)
            }
        }
    }

    /// Bytes that a matrix takes.
    pub fn bytes(self, [rows, columns]: [usize; 2]) -> u64 {
        4 * rows as u64 * self.row_words(columns) as u64
    }
}
