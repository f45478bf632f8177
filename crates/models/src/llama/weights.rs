//! The checkpoint's names and shapes, and a model made from them.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::Device;
use stratune_kernels::{Compute, Rotary};
use stratune_peft::{Linear, Param, Shared, Table};
use stratune_protocol::{BaseDtype, Keep, Problem, Target, draws, normals};

use super::arriving::{Arriving, EMBED_TOKENS, LM_HEAD, Stored, Weights, pieces};
use super::{Block, Llama, LlamaConfig};
use crate::nn::{Attention, Mlp, RmsNorm};

impl LlamaConfig {
    /// Every tensor of the checkpoint and its shape, in the order of the forward pass.
    pub fn layout(&self) -> Vec<(String, Vec<usize>)> {
        let (d, m) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        let mut all = vec![(EMBED_TOKENS.to_string(), vec![self.vocab_size, d])];
        for i in 0..self.num_hidden_layers {
            let parts = [
                ("input_layernorm", vec![d]),
                ("self_attn.q_proj", vec![q, d]),
                ("self_attn.k_proj", vec![kv, d]),
                ("self_attn.v_proj", vec![kv, d]),
                ("self_attn.o_proj", vec![d, q]),
                ("post_attention_layernorm", vec![d]),
                ("mlp.gate_proj", vec![m, d]),
                ("mlp.up_proj", vec![m, d]),
                ("mlp.down_proj", vec![d, m]),
            ];
            for (part, shape) in parts {
                let path = format!("{}.{part}", Llama::layer_path(i));
                let biased =
                    part.starts_with("self_attn.") && self.attention_bias || part.starts_with("mlp.") && self.mlp_bias;
                let bias = biased.then(|| (format!("{path}.bias"), vec![shape[0]]));
                all.push((format!("{path}.weight"), shape));
                all.extend(bias);
            }
        }
        all.push(("model.norm.weight".to_string(), vec![d]));
        if !self.tie_word_embeddings {
            all.push((LM_HEAD.to_string(), vec![self.vocab_size, d]));
        }
        all
    }

    /// Numbers in the model.
    pub fn parameters(&self) -> u64 {
        self.layout().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }
}

impl Llama {
    /// A model from its tensors.
    ///
    /// # Errors
    /// Names the tensor that is missing or has another size.
    pub fn from_weights(config: LlamaConfig, mut weights: Weights, device: &Device) -> Result<Self, Problem> {
        let missing =
            |name: &str| Problem::input(format!("the model has no tensor {name}")).next("use a complete model folder");
        let mut take_pieces = |name: &str, shape: &[usize]| {
            let stored = weights.take(name).ok_or_else(|| missing(name))?;
            let (got, want) = (stored.iter().map(Stored::count).sum::<usize>(), shape.iter().product::<usize>());
            if got != want {
                return Err(Problem::input(format!("{name} has {got} numbers where config.json says {want}"))
                    .next("use a config.json that belongs to these weights"));
            }
            Ok(stored)
        };
        let mut table = |name: &str| {
            let columns = config.hidden_size;
            let pieces = take_pieces(name, &[config.vocab_size, columns])?;
            Table::of(pieces.into_iter().map(|stored| stored.matrix(columns))).ok_or_else(|| missing(name))
        };
        let embed_tokens = table(EMBED_TOKENS)?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(table(LM_HEAD)?),
        };
        let mut take = |name: &str, shape: &[usize]| {
            let [whole] = <[Stored; 1]>::try_from(take_pieces(name, shape)?).map_err(|pieces| {
                Problem::input(format!("{name} came in {} pieces", pieces.len())).next("pass it as a whole")
            })?;
            Ok(whole)
        };
        let shapes: BTreeMap<String, Vec<usize>> = config.layout().into_iter().collect();
        type Take<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Stored, Problem>;
        let matrix = |take: Take<'_>, name: &str| {
            let shape = shapes.get(name).map_or([0, 0], |s| [s[0], s[1]]);
            take(name, &shape).map(|stored| stored.matrix(shape[1]))
        };
        let vector = |take: Take<'_>, name: &str, shape: &[usize]| {
            take(name, shape).map(|stored| match stored {
                Stored::Floats(tensor) => tensor,
                Stored::Packed(packed) => packed.dense().reshape([-1]),
            })
        };
        let mut linears = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let path = Self::layer_path(i);
            let mut linear = |target: Target| -> Result<Linear, Problem> {
                let path = format!("{path}.{}", target.path());
                let mut linear = Linear::new(matrix(&mut take, &format!("{path}.weight"))?);
                let bias = format!("{path}.bias");
                if let Some(shape) = shapes.get(&bias) {
                    linear.bias = Some(Param::frozen(vector(&mut take, &bias, shape)?));
                }
                Ok(linear)
            };
            let self_attn = Attention {
                q_proj: linear(Target::QProj)?,
                k_proj: linear(Target::KProj)?,
                v_proj: linear(Target::VProj)?,
                o_proj: linear(Target::OProj)?,
                head_dim: config.head_dim,
                prefix: None,
            };
            let mlp = Mlp {
                gate_proj: linear(Target::GateProj)?,
                up_proj: linear(Target::UpProj)?,
                down_proj: linear(Target::DownProj)?,
            };
            linears.push((self_attn, mlp));
        }
        let mut norm = |path: String| {
            let gain = vector(&mut take, &format!("{path}.weight"), &[config.hidden_size])?;
            Ok::<_, Problem>(RmsNorm::new(gain, config.rms_norm_eps))
        };
        let mut layers = Vec::with_capacity(linears.len());
        for (i, (self_attn, mlp)) in linears.into_iter().enumerate() {
            let path = Self::layer_path(i);
            let input_layernorm = norm(format!("{path}.input_layernorm"))?;
            let post_attention_layernorm = norm(format!("{path}.post_attention_layernorm"))?;
            let adapters = Vec::new();
            layers.push(Block { input_layernorm, self_attn, post_attention_layernorm, mlp, adapters });
        }
        let norm = norm("model.norm".to_string())?;
        let scaling = config.rotary_scaling();
        let rotary = Rotary::new(config.head_dim, config.max_position_embeddings, config.rope_theta, scaling, device);
        let shared = Shared::default();
        let compute = Compute::default();
        let (prompt, ladder, rows) = (None, None, None);
        Ok(Self { config, embed_tokens, layers, norm, lm_head, rotary, prompt, ladder, shared, rows, compute })
    }

    /// A model with random weights, normal with standard deviation 0.02 (0.02/√(2·layers) where a block writes to the
    /// residual stream), norms at one; the same numbers on every device.
    ///
    /// # Errors
    /// None that a checked configuration can cause.
    pub fn random(config: LlamaConfig, seed: u64, device: &Device) -> Result<Self, Problem> {
        Self::random_as(config, BaseDtype::F32, seed, device)
    }

    /// The same with its matrices kept in another way.
    ///
    /// # Errors
    /// None that a checked configuration can cause.
    pub fn random_as(config: LlamaConfig, keep: impl Into<Keep>, seed: u64, device: &Device) -> Result<Self, Problem> {
        let keep = keep.into();
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        let weights = config.layout().into_iter().enumerate().map(|(i, (name, shape))| {
            let count = shape.iter().product();
            let mut values: Vec<f32> = if name.ends_with(".bias") {
                vec![0.0; count]
            } else if shape.len() == 1 {
                vec![1.0; count]
            } else {
                let std =
                    if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") { residual } else { 0.02 };
                let mut rng = draws(seed, "weights", [i as u64, 0]);
                normals(&mut rng, count, std)
            };
            let of_piece = |(range, shape): (Range<usize>, Vec<usize>)| {
                let mut arriving = Arriving::new(&name, &shape, keep.dtype, device);
                let others = values.split_off(range.len());
                arriving.add(std::mem::replace(&mut values, others));
                arriving.finish()
            };
            let stored = pieces(&name, &shape, keep).into_iter().map(of_piece).collect();
            (name, stored)
        });
        let weights = weights.collect();
        Self::from_weights(config, weights, device)
    }
}
