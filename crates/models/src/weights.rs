//! A model made from its tensors, or from random ones.

use std::ops::Range;
use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use stratune_kernels::Compute;
use stratune_peft::{Embedding, Linear, ModuleId, Param, Shared};
use stratune_protocol::{BaseDtype, Module, Problem, Role, WeightStorage, draws, normals};

use crate::Entry;
use crate::load::{LoadedTensor, TensorLoader, Weights, pieces};
use crate::nn::{
    Attention, Classifier, CrossAttention, FusedRows, Mlp, Norm, Projections, QkNorm, RelativeBias, Rotaries,
};
use crate::{Block, Model, ModelConfig, Stacks};

/// Takes the modules of a model out of its weights.
struct WeightReader<'a> {
    config: &'a ModelConfig,
    weights: Weights,
}

impl WeightReader<'_> {
    /// The module of this role.
    fn module(&self, block: Option<usize>, role: Role) -> Result<Module, Problem> {
        self.config.module(block, role).cloned().ok_or_else(|| {
            let of = block.map_or_else(String::new, |block| format!(" of block {block}"));
            Problem::input(format!("the model has no {}{of}", role.name())).next("use a model of another family")
        })
    }

    fn pieces(&mut self, name: &str, shape: &[usize]) -> Result<Vec<LoadedTensor>, Problem> {
        let loaded = self.weights.take(name).ok_or_else(|| missing(name))?;
        let (got, want) = (loaded.iter().map(LoadedTensor::count).sum::<usize>(), shape.iter().product::<usize>());
        if got != want {
            return Err(Problem::input(format!("{name} has {got} numbers where config.json says {want}"))
                .next("use a config.json that belongs to these weights"));
        }
        Ok(loaded)
    }

    fn whole(&mut self, name: &str, shape: &[usize]) -> Result<LoadedTensor, Problem> {
        let [whole] = <[LoadedTensor; 1]>::try_from(self.pieces(name, shape)?).map_err(|pieces| {
            Problem::input(format!("{name} came in {} pieces", pieces.len())).next("pass it as a whole")
        })?;
        Ok(whole)
    }

    fn vector(&mut self, name: &str, size: usize) -> Result<Tensor<1>, Problem> {
        Ok(match self.whole(name, &[size])? {
            LoadedTensor::Floats(tensor) => tensor,
            LoadedTensor::Quantized(quantized) => quantized.dense().reshape([-1]),
        })
    }

    fn embedding(&mut self, role: Role) -> Result<Embedding, Problem> {
        let module = self.module(None, role)?;
        let name = format!("{}.weight", module.path);
        let [_, columns] = module.sides();
        let pieces = self.pieces(&name, &module.shape)?.into_iter().map(|loaded| loaded.matrix(columns));
        Embedding::of(id(&module), pieces).ok_or_else(|| missing(&name))
    }

    /// The table of this role, if the model has one.
    fn table(&mut self, role: Role) -> Result<Option<Embedding>, Problem> {
        self.config.module(None, role).is_some().then(|| self.embedding(role)).transpose()
    }

    /// What a model of two stacks has beside its blocks.
    fn stacks(&mut self) -> Result<Option<Box<Stacks>>, Problem> {
        let Some(distance) = self.config.seq2seq.as_ref().map(|of| of.distance) else { return Ok(None) };
        let tables: Vec<Module> =
            self.config.modules.iter().filter(|module| module.role == Role::RelativeBias).cloned().collect();
        let mut bias = |module: Option<&Module>, bidirectional: bool| {
            let module = module.ok_or_else(|| missing(Role::RelativeBias.name()))?;
            let [rows, columns] = module.sides();
            let values = self.vector(&format!("{}.weight", module.path), module.count())?;
            let table = Param::frozen(values.reshape([rows, columns]));
            Ok(RelativeBias { id: id(module), table, bidirectional, distance })
        };
        let (encoder_bias, decoder_bias) = (bias(tables.first(), true)?, bias(tables.get(1), false)?);
        let encoder_norm = self.norm(None, Role::EncoderNorm)?;
        Ok(Some(Box::new(Stacks { encoder_norm, encoder_bias, decoder_bias, reads: None })))
    }

    /// The attention to another text, if the block has it.
    fn cross_attention(&mut self, i: usize) -> Result<Option<Box<CrossAttention>>, Problem> {
        let Some(norm) = self.norm_of(Some(i), Role::CrossNorm)? else { return Ok(None) };
        let [q_proj, k_proj, v_proj, o_proj] = [Role::CrossQuery, Role::CrossKey, Role::CrossValue, Role::CrossOutput]
            .map(|role| self.linear(Some(i), role));
        Ok(Some(Box::new(CrossAttention {
            norm,
            q_proj: q_proj?,
            k_proj: k_proj?,
            v_proj: v_proj?,
            o_proj: o_proj?,
            head_dim: self.config.head_dim,
            scale: self.config.scores_of(i).scale,
        })))
    }

    /// The head that classifies, if the model has one. What the checkpoint lacks of it is drawn.
    fn classifier(&mut self, device: &Device) -> Result<Option<Classifier>, Problem> {
        let Some(of) = &self.config.classifier else { return Ok(None) };
        let mut drawn = [false; 2];
        let mut layer = |role: Role, was_drawn: &mut bool| {
            let module = self.module(None, role)?;
            if self.weights.has(&format!("{}.weight", module.path)) {
                return self.linear(None, role);
            }
            *was_drawn = true;
            Ok(drawn_layer(&module, 0, device))
        };
        let dense = of.activation.map(|activation| Ok((layer(Role::Pooler, &mut drawn[0])?, activation)));
        let (dense, out) = (dense.transpose()?, layer(Role::Classifier, &mut drawn[1])?);
        Ok(Some(Classifier { dense, out, drawn }))
    }

    fn linear(&mut self, block: Option<usize>, role: Role) -> Result<Linear, Problem> {
        let module = self.module(block, role)?;
        let [outputs, inputs] = module.sides();
        let weight = self.whole(&format!("{}.weight", module.path), &module.shape)?;
        let mut linear = Linear::new(id(&module), weight.matrix(inputs));
        if module.bias {
            linear.bias = Some(Param::frozen(self.vector(&format!("{}.bias", module.path), outputs)?));
        }
        Ok(linear)
    }

    fn norm(&mut self, block: Option<usize>, role: Role) -> Result<Norm, Problem> {
        let module = self.module(block, role)?;
        let gain = self.vector(&format!("{}.weight", module.path), module.count())?;
        let mut norm = Norm::new(id(&module), gain, self.config.zero_centered_norms, self.config.norm_eps);
        norm.centring = self.config.centring_norms;
        if module.bias {
            norm.bias = Some(Param::frozen(self.vector(&format!("{}.bias", module.path), module.count())?));
        }
        Ok(norm)
    }

    /// The norm of this role, if the model has one.
    fn norm_of(&mut self, block: Option<usize>, role: Role) -> Result<Option<Norm>, Problem> {
        self.config.module(block, role).is_some().then(|| self.norm(block, role)).transpose()
    }

    /// The norms of queries and keys, if the model has them.
    fn qk_norm(&mut self, i: usize) -> Result<Option<Box<QkNorm>>, Problem> {
        let norms = self.norm_of(Some(i), Role::QueryNorm)?.zip(self.norm_of(Some(i), Role::KeyNorm)?);
        Ok(norms.map(|(q_norm, k_norm)| Box::new(QkNorm { q_norm, k_norm })))
    }

    fn attention(&mut self, i: usize) -> Result<Attention, Problem> {
        let projections = match self.config.module(Some(i), Role::QueryKeyValue) {
            None => {
                let layers = [
                    self.linear(Some(i), Role::Query)?,
                    self.linear(Some(i), Role::Key)?,
                    self.linear(Some(i), Role::Value)?,
                ];
                Projections::Apart(Box::new(layers))
            }
            Some(_) => {
                let rows = match self.config.heads_apart {
                    true => FusedRows::ByHead,
                    false => FusedRows::Apart(self.config.num_key_value_heads * self.config.head_dim),
                };
                Projections::Fused(Box::new(self.linear(Some(i), Role::QueryKeyValue)?), rows)
            }
        };
        let o_proj = self.linear(Some(i), Role::Output)?;
        Ok(Attention {
            id: above(&o_proj.id, 1),
            projections,
            o_proj,
            qk_norm: None,
            head_dim: self.config.head_dim,
            rotary_dim: self.config.rotary_dim,
            kind: self.config.attention[i].clone(),
            scores: self.config.scores_of(i),
            prefix: None,
        })
    }

    fn mlp(&mut self, i: usize) -> Result<Mlp, Problem> {
        let fused = self.config.module(Some(i), Role::GateUp).is_some();
        Ok(Mlp {
            fused,
            gate_proj: self
                .config
                .module(Some(i), Role::Gate)
                .is_some()
                .then(|| self.linear(Some(i), Role::Gate))
                .transpose()?,
            up_proj: self.linear(Some(i), if fused { Role::GateUp } else { Role::Up })?,
            down_proj: self.linear(Some(i), Role::Down)?,
            activation: self.config.activation,
        })
    }
}

/// A layer of a classifier that no checkpoint has: as transformers draws it, normal with standard deviation 0.02, and a bias
/// of zeros.
pub(crate) fn drawn_layer(module: &Module, seed: u64, device: &Device) -> Linear {
    let [outputs, inputs] = module.sides();
    let mut rng = draws(seed, "classifier", [u64::from(module.role == Role::Classifier), 0]);
    let values = normals(&mut rng, outputs * inputs, 0.02);
    let weight = Tensor::<2>::from_data(TensorData::new(values, [outputs, inputs]), device);
    let mut linear = Linear::new(id(module), weight);
    linear.bias = module.bias.then(|| Param::frozen(Tensor::zeros([outputs], device)));
    linear
}

pub(crate) fn id(module: &Module) -> ModuleId {
    ModuleId::new(module.block, &module.path)
}

/// The module that has this one in it, so many levels above.
fn above(id: &ModuleId, levels: usize) -> ModuleId {
    let path = id.path.rsplitn(levels + 1, '.').last().unwrap_or_default();
    ModuleId::new(id.block, path)
}

fn missing(name: &str) -> Problem {
    Problem::input(format!("the model has no tensor {name}")).next("use a complete model folder")
}

impl Model {
    /// A model from its tensors.
    ///
    /// # Errors
    /// Names the tensor that is missing or has another size.
    pub fn from_weights(config: ModelConfig, weights: Weights, device: &Device) -> Result<Self, Problem> {
        let mut reader = WeightReader { config: &config, weights };
        let embed_tokens = reader.embedding(Role::Embedding)?;
        let embed_positions = reader.table(Role::PositionEmbedding)?;
        let embed_token_types = reader.table(Role::TokenTypeEmbedding)?;
        let embed_patches = config.image.map(|_| reader.linear(None, Role::PatchEmbedding)).transpose()?;
        let lm_head = reader.table(Role::Head)?;
        // Matrices before vectors: what was read for them makes room before anything small is put there.
        let parts = (0..config.num_hidden_layers).map(|i| Ok((reader.attention(i)?, reader.mlp(i)?)));
        let parts = parts.collect::<Result<Vec<_>, Problem>>()?;
        let mut layers = Vec::with_capacity(parts.len());
        for (i, (mut self_attn, mlp)) in parts.into_iter().enumerate() {
            self_attn.qk_norm = reader.qk_norm(i)?;
            layers.push(Block {
                id: above(&self_attn.id, 1),
                attention_norm: reader.norm_of(Some(i), Role::AttentionNorm)?,
                self_attn,
                attention_output_norm: reader.norm_of(Some(i), Role::AttentionOutputNorm)?.map(Box::new),
                cross_attn: reader.cross_attention(i)?,
                mlp_norm: reader.norm_of(Some(i), Role::MlpNorm)?,
                mlp,
                mlp_output_norm: reader.norm_of(Some(i), Role::MlpOutputNorm)?.map(Box::new),
                parallel: config.parallel,
                norms_of_sums: config.norms_of_sums,
                residual_multiplier: config.residual_multiplier,
                adapters: Vec::new(),
            });
        }
        let stacks = reader.stacks()?;
        let embed_norm = reader.norm_of(None, Role::EmbeddingNorm)?;
        let norm = reader.norm_of(None, Role::FinalNorm)?;
        let classifier = reader.classifier(device)?;
        let rotaries = Rotaries::of(&config.attention, config.rotary_dim, config.context(), device);
        let shared = Shared::default();
        let config = Rc::new(config);
        let (prompt, ladder, row_adapters, compute) = (None, None, None, Compute::default());
        Ok(Self {
            config,
            embed_tokens,
            embed_positions,
            embed_token_types,
            embed_patches,
            embed_norm,
            stacks,
            layers,
            norm,
            lm_head,
            classifier,
            rotaries,
            prompt,
            ladder,
            shared,
            row_adapters,
            compute,
        })
    }

    /// A model with random weights, normal with standard deviation 0.02 (0.02/√(2·layers) where a block writes to the
    /// residual stream), gains of norms at one; the same numbers on every device.
    ///
    /// # Errors
    /// None that a checked configuration can cause.
    pub fn random(config: ModelConfig, seed: u64, device: &Device) -> Result<Self, Problem> {
        Self::random_as(config, BaseDtype::F32, seed, device)
    }

    /// The same with its matrices kept in another way.
    ///
    /// # Errors
    /// None that a checked configuration can cause.
    pub fn random_as(
        config: ModelConfig,
        storage: impl Into<WeightStorage>,
        seed: u64,
        device: &Device,
    ) -> Result<Self, Problem> {
        // There is no file whose blocks it could have.
        let storage: WeightStorage = storage.into();
        let storage = WeightStorage { dtype: storage.dtype.resolved(false), ..storage };
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        let mut weights = Weights::of(&config);
        for (i, entry) in config.layout().into_iter().enumerate() {
            let Entry { name, shape, role, .. } = &entry;
            let count = shape.iter().product();
            let mut values: Vec<f32> = if name.ends_with(".bias") {
                vec![0.0; count]
            } else if shape.len() == 1 {
                vec![if config.zero_centered_norms { 0.0 } else { 1.0 }; count]
            } else {
                let std = if matches!(role, Role::Output | Role::CrossOutput | Role::Down) { residual } else { 0.02 };
                let mut rng = draws(seed, "weights", [i as u64, 0]);
                normals(&mut rng, count, std)
            };
            let of_piece = |(range, shape): (Range<usize>, Vec<usize>)| {
                let mut loader = TensorLoader::new(*role, &shape, storage.dtype, device);
                let others = values.split_off(range.len());
                loader.add(std::mem::replace(&mut values, others));
                loader.finish()
            };
            let loaded = pieces(&entry, storage).into_iter().map(of_piece).collect();
            weights.insert(name.clone(), loaded);
        }
        Self::from_weights(config, weights, device)
    }
}
