//! The patches of an image, as a row keeps them and as a model reads them.

use std::sync::Arc;

use super::CHANNELS;

/// The patches of an image: eight bits a number until a batch is made of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// [patches, 3, side, side]: patches row by row, each as its channels and these by rows, which is the order of the weights
    /// of `patch_embeddings.projection`. Copies share it.
    pub values: Arc<[u8]>,
    /// Rows of pixels of a patch, and pixels of each.
    pub side: usize,
    /// What makes numbers of them.
    pub normalization: Normalization,
}

/// How eight-bit values become numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// What they are multiplied by.
    pub rescale: f32,
    /// What is then taken off red, green and blue.
    pub mean: [f32; CHANNELS],
    /// What they are then divided by.
    pub std: [f32; CHANNELS],
}

impl Normalization {
    /// A value of this channel.
    pub(crate) fn apply(&self, value: u8, channel: usize) -> f32 {
        (f32::from(value) * self.rescale - self.mean[channel]) / self.std[channel]
    }
}

impl Patches {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len() / self.numbers().max(1)
    }

    /// Numbers of each.
    pub fn numbers(&self) -> usize {
        CHANNELS * self.side * self.side
    }

    /// What a model reads: [patches, 3 · side · side].
    pub fn normalized(&self) -> Vec<f32> {
        let pixels = self.side * self.side;
        let channels = self.values.chunks(pixels.max(1)).enumerate();
        let of_channel = |(at, values)| (at % CHANNELS, values);
        channels
            .map(of_channel)
            .flat_map(|(channel, values): (usize, &[u8])| {
                values.iter().map(move |value| self.normalization.apply(*value, channel))
            })
            .collect()
    }
}
