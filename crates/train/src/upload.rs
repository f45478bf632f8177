//! A batch on the device.

use burn::tensor::{Device, Int, Tensor, TensorData};
use stratune_data::Batch;

/// A batch on the device.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// `[rows, width]`, padded on the right. Attention is causal, so no real token ever sees the padding.
    pub tokens: Tensor<2, Int>,
    /// Rows of `[rows · width]` whose next token is learned: `[learned]`.
    pub positions: Tensor<1, Int>,
    /// That next token: `[learned]`.
    pub targets: Tensor<1, Int>,
    /// How many are learned.
    pub learned: usize,
}

impl Uploaded {
    /// Copies a batch to `device`.
    pub fn new(batch: &Batch, device: &Device) -> Self {
        let ids = |values: &[u32]| values.iter().map(|v| *v as i32).collect::<Vec<_>>();
        let learned = batch.targets.len();
        Self {
            tokens: Tensor::from_data(TensorData::new(ids(&batch.tokens), [batch.rows, batch.width]), device),
            positions: Tensor::from_data(TensorData::new(ids(&batch.positions), [learned]), device),
            targets: Tensor::from_data(TensorData::new(ids(&batch.targets), [learned]), device),
            learned,
        }
    }
}
