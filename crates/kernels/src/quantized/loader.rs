//! Matrices on their way to a device, some rows at a time.

use burn::tensor::{Device, Int};
use stratune_runtime::{TensorBuilder, chunk_length};

use super::{BlockFormat, Quantized, QuantizedDtype, WeightFormat, host};

/// A matrix on its way to a device. What is quantized goes there at once, and no more than some rows of it are on the
/// host.
#[derive(Debug)]
pub struct Quantizer {
    words: TensorBuilder<Int>,
    dtype: QuantizedDtype,
    columns: usize,
}

impl Quantizer {
    /// Of a matrix of so many rows and columns, none of which is there yet.
    pub fn new([rows, columns]: [usize; 2], dtype: QuantizedDtype, device: &Device) -> Self {
        let words = rows * WeightFormat::from(dtype).row_words(columns);
        Self { words: TensorBuilder::new(words, device), dtype, columns }
    }

    /// The next rows, one behind the other.
    pub fn add(&mut self, values: &[f32]) {
        let columns = self.columns.max(1);
        for rows in values.chunks(chunk_length(columns)) {
            let mut words =
                Vec::with_capacity(rows.len() / columns * WeightFormat::from(self.dtype).row_words(columns));
            rows.chunks_exact(columns).for_each(|row| host::quantize_row(row, self.dtype, &mut words));
            self.words.add(words);
        }
    }

    /// The rows that were added.
    pub fn finish(self) -> Quantized {
        finished(self.words, self.dtype.into(), self.columns)
    }
}

fn finished(words: TensorBuilder<Int>, format: WeightFormat, columns: usize) -> Quantized {
    let (words, row_words) = (words.finish(), format.row_words(columns));
    let rows = words.dims()[0] / row_words.max(1);
    Quantized { words: words.reshape([rows, row_words]), format, columns }
}

/// A matrix of a GGUF file on its way to a device.
#[derive(Debug)]
pub struct BlockLoader {
    words: TensorBuilder<Int>,
    format: BlockFormat,
    columns: usize,
}

impl BlockLoader {
    /// Of a matrix of so many rows and columns, none of which is there yet. Columns are whole blocks of the file.
    pub fn new([rows, columns]: [usize; 2], format: BlockFormat, device: &Device) -> Self {
        debug_assert!(columns.is_multiple_of(format.in_file().0));
        let words = rows * WeightFormat::from(format).row_words(columns);
        Self { words: TensorBuilder::new(words, device), format, columns }
    }

    /// The next rows, one behind the other, as the file has them. Whether all of their scales are numbers: what is not is no
    /// number here, and may be one on another device.
    #[must_use]
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        let (numbers, of_block) = self.format.in_file();
        let row = (self.columns / numbers * of_block).max(1);
        for rows in bytes.chunks(chunk_length(row)) {
            let mut words =
                Vec::with_capacity(rows.len() / row * WeightFormat::from(self.format).row_words(self.columns));
            rows.chunks_exact(row).for_each(|row| self.format.repack(row, &mut words));
            self.words.add(words);
        }
        self.format.is_finite(bytes)
    }

    /// The rows that were added.
    pub fn finish(self) -> Quantized {
        finished(self.words, self.format.into(), self.columns)
    }
}
