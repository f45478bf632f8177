//! A batch on the device.

use std::rc::Rc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use stratune_data::{Batch, Sequence, collate, delimited, image_batch, pack};
use stratune_models::nn::{PackedTexts, Positions};
use stratune_models::{Model, SourceTexts};
use stratune_protocol::TrainConfig;

/// How many examples run at once, and how they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Examples in a batch.
    pub size: usize,
    /// Whether several share a row, if the model [can pack](Model::can_pack) them. The numbers are the same up to
    /// rounding.
    pub packing: bool,
}

/// A batch on the device.
#[derive(Clone, Debug)]
pub struct DeviceBatch {
    /// `[rows, width]`, padded on the right. No real token ever sees the padding: it comes later, or is a text of its own.
    pub tokens: Tensor<2, Int>,
    /// Tokens of the longest text.
    pub longest: usize,
    /// What tells the texts of a row from each other; none if each has a row.
    pub texts: Option<PackedTexts>,
    /// Then also the index of each token in a batch of one text a row, by which dropout is drawn.
    pub unpacked_index: Option<Rc<[u32]>>,
    /// Rows of `[rows · width]` whose next token is a label: `[labelled]`.
    pub positions: Tensor<1, Int>,
    /// That next token, or the class: `[labelled]`.
    pub targets: Tensor<1, Int>,
    /// The number, where labels are numbers: `[labelled]`.
    pub values: Tensor<1>,
    /// Which text of a pair each token is of, `[rows, width]`, if that is known.
    pub type_ids: Option<Tensor<2, Int>>,
    /// The patches of the images that are its rows, `[rows, patches, numbers of a patch]`, if they are such.
    pub patches: Option<Tensor<3>>,
    /// What an encoder reads of each row, in models that have one beside a decoder.
    pub source: Option<SourceTexts>,
    /// How many labels there are.
    pub labelled: usize,
    /// Which example each of them is of.
    pub examples: Rc<[u32]>,
    /// Tokens, padding left out.
    pub real_tokens: usize,
}

impl Batching {
    /// `size` examples at once, in as little room as they need.
    pub fn packed(size: usize) -> Self {
        Self { size, packing: true }
    }

    /// Puts examples on the device of the model that is to read them.
    pub fn to_device(self, model: &Model, examples: &[&Sequence]) -> DeviceBatch {
        let packed = self.packing && model.can_pack();
        let mut batch = match (model.config.is_encoder(), packed) {
            _ if model.config.image.is_some() => image_batch(examples),
            (true, _) => delimited(examples, packed),
            (false, true) => pack(examples),
            (false, false) => collate(examples),
        };
        if let Some((token, shared)) = model.config.unplaced_token.zip(batch.shared.as_mut()) {
            shared.without_position(token, &batch.tokens);
        }
        DeviceBatch::new(&batch, &model.device())
    }
}

impl From<&TrainConfig> for Batching {
    fn from(config: &TrainConfig) -> Self {
        Self { size: config.batch_size, packing: config.packing }
    }
}

impl DeviceBatch {
    /// Copies a batch to `device`.
    pub fn new(batch: &Batch, device: &Device) -> Self {
        let ids = |values: &[u32]| values.iter().map(|v| *v as i32).collect::<Vec<_>>();
        let grid = |values: &[u32]| Tensor::from_data(TensorData::new(ids(values), [batch.rows, batch.width]), device);
        let labelled = batch.positions.len();
        let texts = batch.shared.as_ref().map(|shared| {
            let starts: Vec<f32> = shared.starts.iter().map(|place| *place as f32).collect();
            let starts = Tensor::from_data(TensorData::new(starts, [batch.rows, batch.width]), device);
            PackedTexts { position_ids: grid(&shared.position_ids), starts, longest: batch.longest }
        });
        Self {
            tokens: grid(&batch.tokens),
            longest: batch.longest,
            texts,
            unpacked_index: batch.shared.as_ref().map(|shared| shared.unpacked_index.as_slice().into()),
            positions: Tensor::from_data(TensorData::new(ids(&batch.positions), [labelled]), device),
            targets: Tensor::from_data(TensorData::new(ids(&batch.targets), [batch.targets.len()]), device),
            values: Tensor::from_data(TensorData::new(batch.values.clone(), [batch.values.len()]), device),
            type_ids: (!batch.type_ids.is_empty()).then(|| grid(&batch.type_ids)),
            patches: batch.images.as_ref().map(|images| {
                let shape = [batch.rows, batch.width.saturating_sub(1), images.numbers];
                Tensor::from_data(TensorData::new(images.values.clone(), shape), device)
            }),
            source: batch.sources.as_ref().map(|rows| SourceTexts::new(&rows.tokens, &rows.lengths, device)),
            labelled,
            examples: batch.examples.as_slice().into(),
            real_tokens: batch.real_tokens,
        }
    }

    /// Where its tokens are, for the blocks of `model`.
    pub fn model_positions(&self, model: &Model) -> Positions {
        let mut at = match &self.texts {
            None => model.padded_positions(self.tokens.dims()[1], self.longest),
            Some(texts) => model.packed_positions(texts),
        };
        at.patches = self.patches.clone();
        at.type_ids = self.type_ids.as_ref().map(|ids| match model.prompt_length() {
            0 => ids.clone(),
            length => {
                let before = Tensor::zeros([ids.dims()[0], length], &ids.device());
                Tensor::cat(vec![before, ids.clone()], 1)
            }
        });
        at
    }

    /// Tokens that a block reads, padding included; of two stacks those that read more.
    pub fn size(&self) -> usize {
        let source = self.source.as_ref().map_or(0, |source| source.tokens.shape().num_elements());
        source.max(self.tokens.shape().num_elements())
    }
}
