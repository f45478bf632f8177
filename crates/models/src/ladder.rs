//! Ladder side-tuning: a small network beside the model (Sung et al. 2022, arXiv 2206.06522).
//!
//! Each of its blocks is one of the model's, narrower, and reads `μ h + (1 − μ) D x`: what the block below it says and,
//! through D, what the model's block at its side says; `μ = σ(α / 0.1)` is learned and starts at a half. What the last
//! one says is widened and added to what the model says; the way up starts at zero, so that a new ladder changes nothing.
//! Nothing flows back through the model: its blocks keep no graph and their backward pass is never run.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use stratune_kernels::{Scores, linear};
use stratune_peft::{ForwardContext, ModuleId, Param, ParamId, Parameters, SideShape, Visitor};
use stratune_protocol::{Problem, draws};

use crate::nn::{AttentionKind, KvCache, Positions, Rope, Rotaries};
use crate::{Block, Model, ModelConfig, families};

/// What μ's parameter is divided by.
const TEMPERATURE: f64 = 0.1;

/// A small network beside a model.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// One beside each of the model's.
    pub blocks: Vec<Block>,
    /// D of the embedding and of each block: `[side, hidden]`.
    pub down: Vec<Param<2>>,
    /// α of each block: `[1]`.
    pub mix: Vec<Param<1>>,
    /// The way back: `[hidden, side]`.
    pub up: Param<2>,
    /// Cosines and sines of the positions in its narrower heads.
    pub rotaries: Rotaries,
}

impl Ladder {
    /// A new one beside a model of this geometry, `reduction` times narrower, drawn from the seed.
    ///
    /// # Errors
    /// The model cannot be made so much narrower.
    pub fn new(model: &ModelConfig, reduction: usize, seed: u64, device: &Device) -> Result<Self, Problem> {
        let shape = SideShape::of(&model.report("", 0), reduction).ok_or_else(|| {
            Problem::input(format!("a model {} wide cannot be made {reduction} times narrower", model.hidden_size))
                .at("method.reduction")
                .next("use a smaller reduction")
        })?;
        let side = shape.hidden_size;
        let head_dim = side / shape.heads;
        let unstretched = |kind: &AttentionKind| {
            let rope = kind.rope.as_ref().map(|rope| Rope { scaling: None, ..*rope });
            AttentionKind { rope, ..kind.clone() }
        };
        let mut config = ModelConfig {
            vocab_size: 1,
            hidden_size: side,
            intermediate_size: shape.intermediate_size,
            num_attention_heads: shape.heads,
            num_key_value_heads: shape.heads,
            head_dim,
            rotary_dim: head_dim,
            attention: model.attention.iter().map(unstretched).collect(),
            scores: Scores::of(head_dim),
            scores_by_depth: false,
            parallel: false,
            norms_of_sums: false,
            first_position: 0,
            unplaced_token: None,
            classifier: None,
            image: None,
            seq2seq: None,
            centring_norms: false,
            zero_centered_norms: false,
            residual_multiplier: 1.0,
            ..model.clone()
        };
        config.modules = families::plain_modules(&config);
        let small = Model::random(config, seed, device)?;
        let mut blocks = small.layers;
        for (i, block) in blocks.iter_mut().enumerate() {
            block.move_to(&ModuleId::new(None, "ladder.blocks").within(&i.to_string()));
            train(block, |_| true);
        }
        let down = |i: usize| {
            let mut rng = draws(seed, "ladder", [i as u64, 0]);
            let bound = (model.hidden_size as f32).sqrt().recip();
            let values: Vec<f32> = (0..side * model.hidden_size).map(|_| rng.random_range(-bound..bound)).collect();
            Param::trainable(Tensor::from_data(TensorData::new(values, [side, model.hidden_size]), device))
        };
        Ok(Self {
            down: (0..=blocks.len()).map(down).collect(),
            mix: blocks.iter().map(|_| Param::trainable(Tensor::zeros([1], device))).collect(),
            up: Param::trainable(Tensor::zeros([model.hidden_size, side], device)),
            rotaries: small.rotaries,
            blocks,
        })
    }

    /// What it adds to what the model says, from what goes into the model's first block and what comes out of each.
    ///
    /// # Shapes
    /// - each of `states`, output: `[batch, seq, hidden]`
    pub fn forward(
        &self,
        states: &[Tensor<3>],
        at: &Positions,
        caches: Option<&mut [KvCache]>,
        context: &ForwardContext,
    ) -> Tensor<3> {
        let mut caches = caches.map(|c| c.iter_mut());
        let mut said = states.iter().zip(&self.down).map(|(x, down)| linear(x.clone(), down.value.clone()));
        let mut h = said.next().unwrap_or_else(|| Tensor::zeros([1, 1, 1], &self.up.value.device()));
        for ((block, mix), model_says) in self.blocks.iter().zip(&self.mix).zip(said) {
            let mix = sigmoid(mix.value.clone().div_scalar(TEMPERATURE)).unsqueeze();
            let x = model_says.clone() + (h - model_says) * mix;
            h = block.forward(x, at, caches.as_mut().and_then(Iterator::next), context);
        }
        linear(h, self.up.value.clone())
    }
}

/// Trains the parameters whose paths are wanted.
pub(crate) fn train(of: &mut impl Parameters, wanted: impl Fn(&str) -> bool) {
    struct Train<F>(F);
    impl<F: Fn(&str) -> bool> Visitor for Train<F> {
        fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
            param.trainable |= (self.0)(&id.path);
        }
    }
    of.each(&mut Train(wanted));
}

impl Parameters for Ladder {
    fn each(&mut self, visitor: &mut impl Visitor) {
        let own = ModuleId::new(None, "ladder");
        for (i, down) in self.down.iter_mut().enumerate() {
            visitor.visit(&own.param(&format!("down.{i}.weight")), down);
        }
        for (block, mix) in self.blocks.iter_mut().zip(&mut self.mix) {
            visitor.visit(&block.id.param("mix"), mix);
            block.each(visitor);
        }
        visitor.visit(&own.param("up.weight"), &mut self.up);
    }
}
