//! Numbers that come to a device some at a time.

use burn::tensor::kind::Basic;
use burn::tensor::{Device, Element, Tensor, TensorData};

/// Numbers of 32 bits on the host at once on their way to a device: 8 MiB. A page's memory stays as large as it once was;
/// with fewer there would be more files to read, launches and waits.
const ON_THE_WAY: usize = 2 << 20;

/// As many numbers as should be on the host at once on their way to a device, in whole rows of `columns`, at least one.
pub fn chunk_length(columns: usize) -> usize {
    let columns = columns.max(1);
    (ON_THE_WAY / columns).max(1) * columns
}

/// A tensor that comes to a device some numbers at a time. They are laid in room for all of them, which is made once; what
/// comes as a whole needs none.
#[derive(Debug)]
pub struct TensorBuilder<K: Basic> {
    /// `[count]`.
    room: Option<Tensor<1, K>>,
    count: usize,
    filled: usize,
    device: Device,
}

impl<K: Basic> TensorBuilder<K> {
    /// A tensor of so many numbers, none of which has come.
    pub fn new(count: usize, device: &Device) -> Self {
        Self { room: None, count, filled: 0, device: device.clone() }
    }

    /// The next of its numbers; there are no more of them than was said.
    pub fn add<E: Element>(&mut self, values: Vec<E>) {
        let (begin, end) = (self.filled, self.filled + values.len());
        let form = (&self.device, E::dtype());
        let values = Tensor::from_data(TensorData::new(values, [end - begin]), form);
        self.room = Some(if end - begin == self.count {
            values
        } else {
            // `empty` and `zeros` would take the room twice for a moment on the CPU, to align it.
            let room = self.room.take().unwrap_or_else(|| Tensor::ones([self.count], form));
            room.slice_assign(begin..end, values)
        });
        self.filled = end;
    }

    /// What has come: `[numbers]`.
    pub fn finish(self) -> Tensor<1, K> {
        let room = self.room.unwrap_or_else(|| Tensor::empty([0], &self.device));
        if self.filled < self.count { room.slice(0..self.filled) } else { room }
    }
}

#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod tests {
    use burn::tensor::{Float, Int};

    use super::*;

    /// In parts of odd sizes, and with the last one missing.
    fn parts_are_the_whole(device: &Device) {
        let words: Vec<i32> = (0..1003).map(|i| i * 7919 - (1 << 30)).collect();
        let floats: Vec<f32> = words.iter().map(|word| *word as f32 / 3.0).collect();
        for size in [1, 5, 334, 1000, 1003] {
            let (mut in_words, mut in_floats) =
                (TensorBuilder::<Int>::new(1003, device), TensorBuilder::<Float>::new(1003, device));
            for (words, floats) in words.chunks(size).zip(floats.chunks(size)) {
                in_words.add(words.to_vec());
                in_floats.add(floats.to_vec());
            }
            assert_eq!(in_words.finish().into_data().iter::<i32>().collect::<Vec<_>>(), words, "{size} at a time");
            assert_eq!(in_floats.finish().into_data().iter::<f32>().collect::<Vec<_>>(), floats, "{size} at a time");
        }
        let mut some = TensorBuilder::<Float>::new(1003, device);
        some.add(floats[..10].to_vec());
        assert_eq!(some.finish().into_data().iter::<f32>().collect::<Vec<_>>(), floats[..10]);
        assert_eq!(TensorBuilder::<Float>::new(1003, device).finish().dims(), [0]);
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn parts_are_the_whole_on_the_cpu() {
        parts_are_the_whole(&Device::flex());
    }

    /// There the room is also nobody else's at any moment, so that numbers are laid in it and not in a copy.
    #[cfg(feature = "wgpu")]
    #[test]
    fn parts_are_the_whole_on_wgpu() {
        let opened = crate::block_on(crate::open_wgpu()).inspect_err(|problem| crate::skipped::skipped(problem));
        let Ok(opened) = opened else { return };
        parts_are_the_whole(&opened.device);
        let mut tensor_builder = TensorBuilder::<Float>::new(100, &opened.device);
        for _ in 0..10 {
            tensor_builder.add(vec![1.0_f32; 10]);
            assert!(tensor_builder.room.as_ref().is_some_and(Tensor::can_mut));
        }
    }
}
