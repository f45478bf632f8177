//! Matrices in fewer bits than 32, which are only read: the frozen weights of a model.
//!
//! A row is cut into blocks of 32 numbers, the last one filled up with zeros. A block of f16 is 16 words of 32 bits. A
//! block of 8 or 4 bits is its largest magnitude, as the bits of an f32, and 8 or 4 words of integers, evenly spaced
//! between ± that magnitude (the block-wise quantisation of Dettmers et al. 2022, arXiv 2110.02861, §2.1, with a linear
//! map). The error of a number is at most half a step, a 254th or a 14th of the magnitude.
//!
//! [Blocks of GGUF files](BlockFormat) are kept as they came, to the bit.

mod blocks;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod cube;
#[cfg(feature = "cpu")]
mod dot;
#[cfg(all(feature = "cpu", target_arch = "x86_64"))]
mod dot_avx2;
#[cfg(feature = "cpu")]
mod flex;
mod format;
mod host;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod loader;
mod reference;
mod repack;

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor};
use stratune_protocol::Problem;
use stratune_runtime::read_i32;

pub use blocks::BlockFormat;
#[cfg(feature = "cpu")]
pub(crate) use dot::{Spread, dots};
pub use format::{QuantizedDtype, WeightFormat};
#[cfg(feature = "cpu")]
pub(crate) use host::dequantize_row;
pub use loader::{BlockLoader, Quantizer};
pub(crate) use reference::QuantizedOps;

use format::BLOCK;

/// A quantized matrix on a device. A clone shares its memory.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// `[rows, blocks · words of a block]`.
    words: Tensor<2, Int>,
    format: WeightFormat,
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

    /// A matrix of a GGUF file, of rows of whole blocks.
    pub fn of_blocks(bytes: &[u8], [rows, columns]: [usize; 2], format: BlockFormat, device: &Device) -> Self {
        let mut loader = BlockLoader::new([rows, columns], format, device);
        let finite = loader.add(bytes);
        debug_assert!(finite, "scales are numbers");
        loader.finish()
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.words.dims()[0], self.columns]
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.words.device()
    }

    /// What its words are.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Its numbers as floats: `[rows, columns]`.
    pub fn dense(&self) -> Tensor<2> {
        let words = self.words.clone().into_dispatch();
        Tensor::from_dispatch(<Dispatch as QuantizedOps>::dequantize_weight(words, self.format, self.columns))
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
            host::dequantize_row(words, self.format, row);
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

    pub(crate) fn from_words(words: Tensor<2, Int>, format: WeightFormat, columns: usize) -> Self {
        Self { words, format, columns }
    }

    pub(crate) fn words(self) -> Tensor<2, Int> {
        self.words
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

    /// Numbers as GGUF files say, to the bit, wherever they are read: the device's are the host's, also of selected rows, of
    /// rows that come one by one, and of rows that end within a pair of blocks.
    fn blocks_are_kept_to_the_bit(device: &Device) {
        for format in BlockFormat::ALL {
            let (numbers, bytes) = format.in_file();
            for [rows, blocks] in [[1, 1], [3, 3], [5, 4]] {
                let shape @ [_, columns] = [rows, blocks * numbers];
                let noise = format.noise(shape);
                let quantized = Quantized::of_blocks(&noise, shape, format, device);
                let mut loader = BlockLoader::new(shape, format, device);
                noise.chunks(blocks * bytes).for_each(|row| assert!(loader.add(row)));
                let by_rows = loader.finish();
                assert_eq!((quantized.dims(), by_rows.dims()), (shape, shape));
                let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                let host = bits(stratune_runtime::block_on(quantized.clone().read()).unwrap());
                let dense = |quantized: &Quantized| bits(quantized.dense().into_data().iter::<f32>().collect());
                assert_eq!(dense(&quantized), host, "{format:?} {shape:?}");
                assert_eq!(dense(&by_rows), host, "{format:?} {shape:?}, row by row");
                let last = quantized.select(Tensor::from_data(TensorData::from([rows as i32 - 1]), device));
                assert_eq!(dense(&last), host[host.len() - columns..], "{format:?} {shape:?}");
                let values: Vec<f32> = host.iter().map(|bits| f32::from_bits(*bits)).collect();
                let mean = values.iter().map(|v| v.abs()).sum::<f32>() / values.len() as f32;
                assert!((0.003..3.0).contains(&mean), "{format:?}: {mean}");
            }
        }
    }

    #[test]
    fn scales_that_are_no_numbers_are_seen() {
        for format in BlockFormat::ALL {
            let (numbers, _) = format.in_file();
            let mut blocks = format.noise([1, 2 * numbers]);
            assert!(format.is_finite(&blocks), "{format:?}");
            let last = blocks.len() - format.in_file().1 + format.halves().last().unwrap();
            blocks[last..last + 2].copy_from_slice(&0x7c00_u16.to_le_bytes());
            assert!(!format.is_finite(&blocks), "{format:?}");
        }
    }

    /// A pair of blocks, as what is larger than in the file, takes no more than a tenth more; formats that few files have may.
    #[test]
    fn blocks_are_about_as_large_as_in_the_file() {
        for format in BlockFormat::ALL {
            let (numbers, bytes) = format.in_file();
            let columns = 2 * numbers;
            let ratio = WeightFormat::from(format).bytes([1, columns]) as f64 / (2 * bytes) as f64;
            let most = match format {
                BlockFormat::Q2K => 1.2,
                BlockFormat::Tq1_0 => 1.3,
                _ => 1.06,
            };
            assert!((1.0..=most).contains(&ratio), "{format:?}: {ratio}");
        }
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn blocks_are_kept_to_the_bit_on_the_cpu() {
        blocks_are_kept_to_the_bit(&Device::flex());
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn blocks_are_kept_to_the_bit_on_wgpu() {
        if let Some(device) = crate::testing::wgpu() {
            blocks_are_kept_to_the_bit(&device);
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
