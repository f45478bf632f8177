//! Putting a method into a model, and taking it out again.

use burn::tensor::Tensor;
use stratune_peft::{Delta, Lora, LoraShape, Parameters, Visitor};
use stratune_protocol::{MethodConfig, Problem, Target};

use super::{Block, Llama};

impl Llama {
    /// Puts a new LoRA into every block, drawn from `seed`.
    ///
    /// # Errors
    /// The rank does not fit a target; names it.
    pub fn attach(&mut self, method: &MethodConfig, seed: u64) -> Result<(), Problem> {
        let device = self.device();
        for (i, block) in self.layers.iter_mut().enumerate() {
            for &target in &method.targets {
                let (rank, alpha) = method.at(target);
                let site = target as u64;
                let shape = LoraShape { rank, scale: alpha / rank.max(1) as f32, dropout: method.dropout, site };
                let linear = block.linear_mut(target);
                let lora = Lora::new(linear.shape(), shape, seed, [i as u64, site], &device)
                    .map_err(|e| e.at(&format!("layer {i}, {}", target.name())))?;
                linear.delta = Some(Delta::Lora(lora));
            }
        }
        Ok(())
    }

    /// Puts given factors at the layer with the checkpoint path `path`, such as `model.layers.0.self_attn.q_proj`.
    ///
    /// # Errors
    /// There is no such layer, or the factors do not fit it.
    pub fn attach_factors(&mut self, path: &str, a: Tensor<2>, b: Tensor<2>, scale: f32) -> Result<(), Problem> {
        let missing = || {
            Problem::input(format!("the adapter trains {path}, which this model does not have"))
                .next("use an adapter that was trained on this model")
        };
        let (layer, part) =
            path.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')).ok_or_else(missing)?;
        let block = layer.parse::<usize>().ok().and_then(|i| self.layers.get_mut(i)).ok_or_else(missing)?;
        let target = Target::ALL.into_iter().find(|t| Block::target_path(*t) == part).ok_or_else(missing)?;
        let linear = block.linear_mut(target);
        let shape = LoraShape { rank: a.dims()[0], scale, dropout: 0.0, site: target as u64 };
        let lora = Lora::from_factors(linear.shape(), a, b, shape).map_err(|e| e.at(path))?;
        linear.delta = Some(Delta::Lora(lora));
        Ok(())
    }

    /// Moves every addition into the base weights.
    pub fn merge(&mut self) {
        for block in &mut self.layers {
            for target in Target::ALL {
                block.linear_mut(target).merge();
            }
        }
    }

    /// Takes every addition out; what is left is the model as it came.
    pub fn detach(&mut self) {
        for block in &mut self.layers {
            for target in Target::ALL {
                block.linear_mut(target).delta = None;
            }
        }
    }

    /// Trains everything: what pretraining does.
    pub fn train_all(&mut self) {
        struct All;
        impl Visitor for All {
            fn visit<const D: usize>(&mut self, _: &str, param: &mut stratune_peft::Param<D>) {
                param.trainable = true;
            }
        }
        self.each("", &mut All);
    }
}
