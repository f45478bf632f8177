//! A model whose additions are merged into its weights a tensor at a time, so that no more than one of them is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use burn::tensor::{Int, Tensor};
use stratune_kernels::WeightFormat;
use stratune_peft::{Embedding, Linear, Param, ParamId, Parameters, Visitor, named_parameters};
use stratune_protocol::{Problem, Role};
use stratune_runtime::{chunk_length, read_f32};

use crate::nn::Norm;
use crate::{Entry, Model, ModelConfig};

/// A model with its additions, to be read as if they were merged.
#[derive(Debug)]
pub struct MergingModel {
    model: Model,
    /// What it is with them merged.
    config: Rc<ModelConfig>,
    /// Norms, biases and tables of relative ones, with what methods have trained in their place.
    vectors: BTreeMap<String, Tensor<1>>,
    /// The tensors of the model that methods have trained, or others in their place.
    trained: BTreeSet<String>,
}

/// Collects the model's own tensors that train, or in whose place others do.
#[derive(Default)]
struct Trained(BTreeSet<String>);

impl Visitor for Trained {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        if param.trainable {
            self.0.insert(id.path.replace(".ln_tuning_layers.", "."));
        }
    }
}

impl MergingModel {
    /// Of a model with additions.
    ///
    /// # Errors
    /// One of them cannot be merged; names it.
    pub fn new(mut model: Model) -> Result<Self, Problem> {
        let config = Rc::new(model.merged_config()?);
        let mut norms = model.clone();
        norms.layers.iter_mut().for_each(|block| block.norms_mut().for_each(Norm::merge));
        norms.last_norms_mut().for_each(Norm::merge);
        let table = |path: &str| {
            config
                .modules
                .iter()
                .any(|module| module.role == Role::RelativeBias && path.strip_suffix(".weight") == Some(&module.path))
        };
        let vectors = named_parameters(&mut norms).into_iter();
        let vectors = vectors.filter(|(path, (shape, _))| shape.len() == 1 || table(path));
        let vectors = vectors.map(|(path, (_, value))| (path, value)).collect();
        let mut trained = Trained::default();
        model.each(&mut trained);
        Ok(Self { model, config, vectors, trained: trained.0 })
    }

    /// What the merged model is.
    pub fn config(&self) -> &Rc<ModelConfig> {
        &self.config
    }

    /// Whether no method has changed a tensor.
    pub fn is_unchanged(&self, entry: &Entry) -> bool {
        let trained = self.trained.contains(&entry.name);
        !trained && self.linear(entry).is_none_or(|linear| linear.deltas.is_empty())
    }

    /// What a tensor is kept as, if it is in few bits.
    pub fn format(&self, entry: &Entry) -> Option<WeightFormat> {
        if let Some(table) = self.embedding(entry) {
            let mut formats = table.pieces().map(|piece| piece.matrix().format());
            let first = formats.next()??;
            return formats.all(|format| format == Some(first)).then_some(first);
        }
        self.linear(entry).filter(|_| entry.name.ends_with(".weight"))?.weight.matrix().format()
    }

    /// The parts in which a tensor is read: which of its rows each has.
    pub fn parts(&self, entry: &Entry) -> Vec<Range<usize>> {
        let rows = entry.shape[0];
        match entry.shape[..] {
            [_, columns] if self.embedding(entry).is_some() => {
                let most = (chunk_length(columns) / columns.max(1)).max(1);
                (0..rows).step_by(most).map(|from| from..rows.min(from + most)).collect()
            }
            _ => std::iter::once(0..rows).collect(),
        }
    }

    /// One of its parts: rows of a matrix `[out, in]`, one behind the other, or a vector.
    ///
    /// # Errors
    /// The device does not answer, or the model has no such tensor.
    pub async fn read(&self, entry: &Entry, part: Range<usize>) -> Result<Vec<f32>, Problem> {
        let absent = || Problem::input(format!("the model has no tensor {}", entry.name)).next("please report this");
        if let Some(table) = self.embedding(entry) {
            let device = table.device();
            let ids = Tensor::<1, Int>::arange(part.start as i64..part.end as i64, &device);
            return read_f32(table.rows(ids)).await;
        }
        let Some(mut linear) = self.linear(entry) else {
            return read_f32(self.vectors.get(&entry.name).cloned().ok_or_else(absent)?).await;
        };
        linear.merge(&self.model.shared);
        match (entry.name.ends_with(".bias"), linear.bias) {
            (false, _) => linear.weight.read().await,
            (true, Some(bias)) => read_f32(bias.value).await,
            // The configuration knows biases for all blocks, or for a whole attention.
            (true, None) => Ok(vec![0.0; entry.shape[0]]),
        }
    }

    fn embedding(&self, entry: &Entry) -> Option<&Embedding> {
        match entry.role {
            Role::Embedding => Some(&self.model.embed_tokens),
            Role::PositionEmbedding => self.model.embed_positions.as_ref(),
            Role::TokenTypeEmbedding => self.model.embed_token_types.as_ref(),
            Role::Head => self.model.lm_head.as_ref(),
            _ => None,
        }
    }

    /// The linear layer of a tensor, with its additions.
    fn linear(&self, entry: &Entry) -> Option<Linear> {
        let (path, _) = entry.name.rsplit_once('.')?;
        let module = self.config.modules.iter().find(|module| module.role == entry.role && module.path == path)?;
        if let Some(classifier) = self.model.classifier.as_ref().filter(|_| module.role.is_of_classifier()) {
            return classifier.clone().layers_mut().find(|layer| *layer.id.path == *path).cloned();
        }
        if module.role == Role::PatchEmbedding {
            return self.model.embed_patches.clone();
        }
        // A copy, whose tensors are shared.
        let mut block = self.model.layers.get(module.block?)?.clone();
        block.linear_mut(module.role).cloned()
    }
}
