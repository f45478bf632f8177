//! The context of a forward pass: what it depends on besides its input.

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use stratune_kernels::Compute;
use stratune_protocol::draws;

use crate::Shared;

/// Where dropout's draws come from. Keyed, not drawn in turn, so that a block that runs twice is the same function twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// Seed of the run.
    pub seed: u64,
    /// Micro-batch of the run.
    pub batch: u64,
}

/// What one block's forward pass depends on besides its input.
#[derive(Clone, Debug)]
pub struct ForwardContext {
    /// What the effect of every method in the block is multiplied by: 1, or IST's β while a block is damped.
    pub damping: f32,
    /// Present while training.
    pub dropout: Option<Dropout>,
    /// If several texts share a row: the index of each token in a batch of one text a row, by which dropout is drawn.
    pub unpacked_index: Option<Rc<[u32]>>,
    /// The block's number.
    pub block: usize,
    /// What the methods of all blocks read.
    pub shared: Rc<Shared>,
    /// Which adapter of a [`Mixture`](crate::Mixture) each row of the batch gets, if not all rows get all.
    pub row_adapters: Option<Rc<[usize]>>,
    /// What the block's own layers multiply in; what methods add is f32.
    pub compute: Compute,
}

impl ForwardContext {
    /// The context of evaluation and generation, in f32.
    pub fn inference(block: usize, shared: Rc<Shared>) -> Self {
        Self {
            damping: 1.0,
            dropout: None,
            unpacked_index: None,
            block,
            shared,
            row_adapters: None,
            compute: Compute::default(),
        }
    }

    /// `changed`, or while the block is damped, what lies β of the way from `plain` to it.
    pub fn damp<const D: usize>(&self, plain: Tensor<D>, changed: Tensor<D>) -> Tensor<D> {
        if self.damping == 1.0 { changed } else { plain.clone() + (changed - plain).mul_scalar(self.damping) }
    }

    /// What a method adds, or while the block is damped β of it.
    pub(crate) fn damped<const D: usize>(&self, addition: Tensor<D>) -> Tensor<D> {
        if self.damping == 1.0 { addition } else { addition.mul_scalar(self.damping) }
    }

    /// A mask of zeros and `1/(1-p)`, for the site numbered `site` within the block; none if nothing is dropped.
    pub fn dropout_mask(&self, p: f32, site: u64, shape: [usize; 3], device: &Device) -> Option<Tensor<3>> {
        let key = self.dropout.filter(|_| p > 0.0)?;
        let mut rng = draws(key.seed, "dropout", [key.batch, (self.block as u64) << 8 | site]);
        let keep = 1.0 / (1.0 - p);
        let threshold = (f64::from(p) * f64::from(u32::MAX)) as u32;
        let mut drawn = |positions: usize| -> Vec<f32> {
            (0..positions * shape[2]).map(|_| if rng.next_u32() < threshold { 0.0 } else { keep }).collect()
        };
        let mask = match &self.unpacked_index {
            None => drawn(shape[0] * shape[1]),
            Some(unpacked_index) => {
                let all = drawn(unpacked_index.iter().max().map_or(0, |last| *last as usize + 1));
                unpacked_index.iter().flat_map(|i| &all[*i as usize * shape[2]..][..shape[2]]).copied().collect()
            }
        };
        Some(Tensor::from_data(TensorData::new(mask, shape), device))
    }
}
