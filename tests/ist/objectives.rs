//! The objective is an argument: whatever measures or trains asks the one that it is given.

use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use stratune_models::Model;
use stratune_peft::{Gradients, MethodConfig, MethodKind};
use stratune_protocol::{IstConfig, IstMode, OptimiserKind};
use stratune_runtime::block_on;
use stratune_tests::runs::{RecordingCallback, trainer};
use stratune_train::{DeviceBatch, Event, NextToken, Objective, RunConfig};

/// So many times the loss of the next token.
struct Times(f64);

impl Objective for Times {
    fn loss(&self, model: &Model, x: Tensor<3>, batch: &DeviceBatch) -> Tensor<1> {
        NextToken.loss(model, x, batch).mul_scalar(self.0)
    }

    fn backward(
        &self,
        model: &Model,
        x: Tensor<3>,
        batch: &DeviceBatch,
        scale: f64,
        into: &mut Gradients,
    ) -> (Tensor<1>, Tensor<3>) {
        let (loss, dx) = NextToken.backward(model, x, batch, scale * self.0, into);
        (loss.mul_scalar(self.0), dx)
    }
}

/// What a step, a validation and a score update say of the loss, and the norm of the gradient or slope of each step.
fn losses(config: &RunConfig, objective: impl Objective + 'static) -> [Vec<f64>; 4] {
    let mut recording = RecordingCallback::default();
    let mut trainer = trainer(config, 4, &Device::flex()).with_objective(Rc::new(objective));
    block_on(recording.watch(&mut trainer)).unwrap();
    let mut all = [const { Vec::new() }; 4];
    for event in recording.events {
        match event {
            Event::Step(step) => (all[0].push(step.loss), all[1].push(step.gradient_norm)),
            Event::Validation { loss, .. } => (all[2].push(loss), ()),
            Event::Importance { candidates, .. } => (all[3].extend(candidates.iter().map(|c| c.loss)), ()),
            _ => continue,
        };
    }
    all
}

/// With a learning rate of next to nothing the model stays where it is, and each number is so many times that of the next
/// token's loss: in training with and without a gradient, in evaluation, in IST's batches, and under a ladder. f32: 1e-4.
#[test]
fn everything_asks_the_objective_it_is_given() {
    for (method, optimiser) in [
        (MethodKind::Lora, OptimiserKind::Adamw),
        (MethodKind::Lora, OptimiserKind::Mezo),
        (MethodKind::Ladder, OptimiserKind::Adamw),
    ] {
        let mode = if method == MethodKind::Ladder { IstMode::All } else { IstMode::Practical };
        let mut config = RunConfig {
            ist: IstConfig::preset(mode),
            method: MethodConfig::new(method).into(),
            ..RunConfig::default()
        };
        (config.train.steps, config.train.eval_every, config.ist.interval) = (4, 2, 2);
        (config.train.learning_rate, config.train.clip_norm) = (1e-12, 0.0);
        config.train.optimiser = optimiser;
        let (once, thrice) = (losses(&config, NextToken), losses(&config, Times(3.0)));
        for (one, three) in once.iter().zip(&thrice) {
            assert_eq!(one.len(), three.len());
            for (one, three) in one.iter().zip(three) {
                let (off, of) = ((three - 3.0 * one).abs(), three.abs().max(1e-3));
                // MeZO's slope is a difference of two losses that are nearly equal: it has three digits.
                let within = if optimiser == OptimiserKind::Mezo { 2e-2 } else { 1e-4 };
                assert!(off <= within * of, "{method} with {optimiser:?}: {three} is not three times {one}");
            }
        }
        let counts = once.map(|numbers| numbers.len());
        assert_eq!(counts[..3], [4, 4, 3], "{method} with {optimiser:?}");
        assert_eq!(counts[3] > 0, mode == IstMode::Practical);
    }
}
