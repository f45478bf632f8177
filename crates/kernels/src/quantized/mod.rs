//! Matrices in fewer bits than 32, which are only read: the frozen weights of a model.
//!
//! A row is cut into blocks of 32 numbers, the last one filled up with zeros. A block of f16 is 16 words of 32 bits. A
//! block of 8 or 4 bits is its largest magnitude, as the bits of an f32, and 8 or 4 words of integers, evenly spaced
//! between ± that magnitude (the block-wise quantisation of Dettmers et al. 2022, arXiv 2110.02861, §2.1, with a linear
//! map). The error of a number is at most half a step, a 254th or a 14th of the magnitude.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod cube;
#[cfg(feature = "cpu")]
mod flex;
mod host;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor};
use stratune_protocol::Problem;
use stratune_runtime::{TensorBuilder, chunk_length, read_i32};

#[cfg(feature = "cpu")]
pub(crate) use host::dequantize_row;
pub(crate) use reference::QuantizedOps;

/// Numbers of a row that are quantized together.
pub(crate) const BLOCK: usize = 32;

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

    /// Words of 32 bits in a block.
    pub(crate) const fn block_words(self) -> usize {
        self.head() + self.bits() * BLOCK / 32
    }

    /// Fours of numbers in a block.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(crate) const fn block_fours(self) -> u32 {
        BLOCK as u32 / 4
    }

    /// Words of a row of so many numbers.
    const fn row_words(self, columns: usize) -> usize {
        columns.div_ceil(BLOCK) * self.block_words()
    }

    /// What is left of a row's numbers.
    pub(crate) fn rounded(self, row: &[f32]) -> Vec<f32> {
        let (mut words, mut back) = (Vec::new(), vec![0.0; row.len()]);
        host::quantize_row(row, self, &mut words);
        host::dequantize_row(&words, self, &mut back);
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

/// A quantized matrix on a device. A clone shares its memory.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// `[rows, blocks · words of a block]`.
    words: Tensor<2, Int>,
    dtype: QuantizedDtype,
    columns: usize,
}

impl Quantized {
    /// Quantizes the rows of a matrix, `rows · columns` numbers one row behind the other.
    pub fn new(values: &[f32], [rows, columns]: [usize; 2], dtype: QuantizedDtype, device: &Device) -> Self {
        debug_assert_eq!(values.len(), rows * columns);
        let mut quantizer = Quantizer::new([rows, columns], dtype, device);
        quantizer.add(values);
        quantizer.finish()
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.words.dims()[0], self.columns]
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.words.device()
    }

    /// What its numbers are quantized to.
    pub fn dtype(&self) -> QuantizedDtype {
        self.dtype
    }

    /// Its numbers as floats: `[rows, columns]`.
    pub fn dense(&self) -> Tensor<2> {
        let words = self.words.clone().into_dispatch();
        Tensor::from_dispatch(<Dispatch as QuantizedOps>::dequantize_weight(words, self.dtype, self.columns))
    }

    /// Its numbers, dequantized on the host, one row behind the other.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn read(self) -> Result<Vec<f32>, Problem> {
        let ([rows, columns], [_, row_words]) = (self.dims(), self.words.dims());
        let words = read_i32(self.words).await?;
        let mut numbers = vec![0.0; rows * columns];
        for (words, row) in words.chunks(row_words.max(1)).zip(numbers.chunks_mut(columns.max(1))) {
            host::dequantize_row(words, self.dtype, row);
        }
        Ok(numbers)
    }

    /// Some of its rows.
    ///
    /// # Shapes
    /// - `indices`: `[n]`
    /// - output: of `n` rows
    pub fn select(&self, indices: Tensor<1, Int>) -> Self {
        Self { words: self.words.clone().select(0, indices), ..self.clone() }
    }

    pub(crate) fn from_words(words: Tensor<2, Int>, dtype: QuantizedDtype, columns: usize) -> Self {
        Self { words, dtype, columns }
    }

    pub(crate) fn words(self) -> Tensor<2, Int> {
        self.words
    }
}

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
        Self { words: TensorBuilder::new(rows * dtype.row_words(columns), device), dtype, columns }
    }

    /// The next rows, one behind the other.
    pub fn add(&mut self, values: &[f32]) {
        let columns = self.columns.max(1);
        for rows in values.chunks(chunk_length(columns)) {
            let mut words = Vec::with_capacity(rows.len() / columns * self.dtype.row_words(columns));
            rows.chunks_exact(columns).for_each(|row| host::quantize_row(row, self.dtype, &mut words));
            self.words.add(words);
        }
    }

    /// The rows that were added.
    pub fn finish(self) -> Quantized {
        let (words, row_words) = (self.words.finish(), self.dtype.row_words(self.columns));
        let rows = words.dims()[0] / row_words.max(1);
        Quantized { words: words.reshape([rows, row_words]), dtype: self.dtype, columns: self.columns }
    }
}

#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    /// Rows of numbers of very different sizes, and one of zeros.
    fn matrix([rows, columns]: [usize; 2]) -> Vec<f32> {
        (0..rows * columns)
            .map(
                |i| if i / columns == 1 { 0.0 } else { ((i * 37 % 101) as f32 - 50.0) * (1.0 + (i % 7) as f32) / 90.0 },
            )
            .collect()
    }

    /// The host's numbers are within half a step of what was quantized, and the device's is the host's.
    fn numbers_come_back(device: &Device) {
        for dtype in [QuantizedDtype::F16, QuantizedDtype::Int8, QuantizedDtype::Int4] {
            for shape @ [_, columns] in [[1, 1], [3, 31], [2, 32], [5, 68], [7, 100], [2, 576]] {
                let values = matrix(shape);
                let quantized = Quantized::new(&values, shape, dtype, device);
                assert_eq!(quantized.dims(), shape);
                let back: Vec<f32> = quantized.dense().into_data().iter::<f32>().collect();
                for (i, (row, there)) in values.chunks(columns).zip(back.chunks(columns)).enumerate() {
                    for (block, there) in row.chunks(BLOCK).zip(there.chunks(BLOCK)) {
                        let most = block.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                        // f16 has 11 bits; the integers' step is rounded, and the product with it.
                        let allowed =
                            if dtype == QuantizedDtype::F16 { most / 2048.0 } else { 0.5001 * most / dtype.steps() };
                        for (a, b) in block.iter().zip(there) {
                            assert!((a - b).abs() <= allowed, "{dtype:?} {shape:?}, row {i}: {b} for {a}, of {most}");
                        }
                    }
                }
                let read = stratune_runtime::block_on(quantized.clone().read()).unwrap();
                assert_eq!((read.len(), &read[..columns]), (back.len(), &dtype.rounded(&values[..columns])[..]));
                for (a, b) in read.iter().zip(&back) {
                    assert!((a - b).abs() <= 1e-6 * a.abs(), "{dtype:?} {shape:?}: {b} on the device, {a} on the host");
                }
                let last = quantized.select(Tensor::from_data(TensorData::from([shape[0] as i32 - 1]), device));
                let last: Vec<f32> = last.dense().into_data().iter::<f32>().collect();
                assert_eq!(last, back[back.len() - columns..], "{dtype:?} {shape:?}");
            }
        }
    }

    /// Rows that come in odd numbers, and more of them than go to the device at once, are what they are together.
    fn rows_may_come_as_they_like(device: &Device) {
        let words = |quantized: Quantized| quantized.words().into_data().iter::<i32>().collect::<Vec<_>>();
        for dtype in [QuantizedDtype::F16, QuantizedDtype::Int8, QuantizedDtype::Int4] {
            for ([rows, columns], at_a_time) in [([23, 68], 1), ([23, 68], 5), ([7, 1], 3), ([2051, 1030], 2050)] {
                let values = matrix([rows, columns]);
                let (mut quantizer, mut expected) = (Quantizer::new([rows, columns], dtype, device), Vec::new());
                values.chunks(at_a_time * columns).for_each(|some| quantizer.add(some));
                values.chunks(columns).for_each(|row| host::quantize_row(row, dtype, &mut expected));
                let quantized = quantizer.finish();
                assert_eq!(quantized.dims(), [rows, columns]);
                assert!(words(quantized) == expected, "{dtype:?}, {rows} rows of {columns}, {at_a_time} at a time");
            }
        }
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn rows_may_come_as_they_like_on_the_cpu() {
        rows_may_come_as_they_like(&Device::flex());
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn rows_may_come_as_they_like_on_wgpu() {
        if let Some(device) = crate::testing::wgpu() {
            rows_may_come_as_they_like(&device);
        }
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn numbers_come_back_on_the_cpu() {
        numbers_come_back(&Device::flex());
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn numbers_come_back_on_wgpu() {
        if let Some(device) = crate::testing::wgpu() {
            numbers_come_back(&device);
        }
    }

    /// What f16 cannot hold is the largest they can; small ones lose digits and stay.
    #[test]
    fn f16_saturates() {
        let back = QuantizedDtype::F16.rounded(&[1e9, -1e9, 6e-8, 1.0]);
        assert_eq!(back, [65504.0, -65504.0, 5.960_464_5e-8, 1.0]);
    }
}
