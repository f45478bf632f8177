//! A hook acts: it changes gradients and the model, and what it remembers is in the checkpoint.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::Device;
use futures::future::LocalBoxFuture;
use serde_json::json;
use stratune_peft::{Gradients, Param, ParamId, Parameters, Visitor, snapshot};
use stratune_protocol::Problem;
use stratune_runtime::{block_on, read_f32};
use stratune_store::HostTensor;
use stratune_tests::runs::{RecordingCallback, counting, small};
use stratune_train::{Hook, HookState, Identity, Run, RunConfig, Saved, Trainer};

const LAYERS: usize = 4;

/// Adds up the gradients of one block's first factor, takes that block's gradients away, and halves the second factors of
/// another after each step.
#[derive(Default)]
struct Meddler {
    seen: Vec<f32>,
    steps: usize,
    prepared: usize,
}

impl Meddler {
    async fn look(&mut self, gradients: &mut Gradients) -> Result<(), Problem> {
        let mut sum = 0.0;
        for (path, gradient) in gradients.iter().filter(|(path, _)| path.starts_with("model.layers.1.")) {
            if path.ends_with("q_proj.lora_B.weight") || path.ends_with("q_proj.lora_B") {
                sum += read_f32(gradient.clone().abs().sum()).await?[0];
            }
        }
        self.seen.push(sum);
        gradients.retain(|path, _| !path.starts_with("model.layers.1."));
        Ok(())
    }
}

struct Halve;

impl Visitor for Halve {
    fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
        if id.block == Some(2) && id.path.contains("lora_B") {
            param.value = param.value.clone().mul_scalar(0.5);
        }
    }
}

impl Hook for Meddler {
    fn name(&self) -> &'static str {
        "meddler"
    }

    fn before_training<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.prepared += 1;
        run.notice("meddles");
        Box::pin(async { Ok(()) })
    }

    fn after_backward<'a>(
        &'a mut self,
        _: &'a mut Run<'_>,
        gradients: &'a mut Gradients,
    ) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.look(gradients))
    }

    fn after_step<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.steps += 1;
        assert_eq!(run.step, self.steps, "steps done");
        run.model.each(&mut Halve);
        Box::pin(async { Ok(()) })
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        let seen = HostTensor { shape: vec![self.seen.len()], data: self.seen.clone() };
        let numbers = json!({ "steps": self.steps, "prepared": self.prepared });
        Box::pin(async { Ok(HookState { numbers, tensors: BTreeMap::from([("meddler/seen".into(), seen)]) }) })
    }

    fn load(&mut self, saved: &Saved<'_>) -> Result<(), Problem> {
        self.seen = saved.tensors["meddler/seen"].data.clone();
        let number = |name: &str| saved.numbers[name].as_u64().unwrap_or(0) as usize;
        (self.steps, self.prepared) = (number("steps"), number("prepared"));
        Ok(())
    }
}

#[test]
fn a_hook_acts_and_remembers() {
    let mut config = RunConfig::default();
    (config.train.steps, config.train.checkpoint_every, config.train.weight_decay) = (6, 1, 0.1);
    let dataset = Rc::new(counting(40, 0));
    let new = |hooks: Vec<Box<dyn Hook>>| {
        let mut model = small(LAYERS, &Device::flex());
        block_on(model.attach(&config.method, 0)).unwrap();
        Trainer::new(config.clone(), model, dataset.clone(), hooks, Identity::default()).unwrap()
    };
    let mut whole = new(vec![Box::new(Meddler::default())]);
    let before = snapshot(&mut whole.model);
    let mut recording = RecordingCallback::default();
    block_on(recording.watch(&mut whole)).unwrap();
    let last = recording.last();
    let hook = &last.meta["run"]["hooks"]["meddler"];
    assert_eq!(*hook, json!({ "steps": 6, "prepared": 1 }));
    let seen = &last.tensors["meddler/seen"].data;
    assert!(seen.len() == 6 && seen.iter().all(|sum| *sum > 0.0), "{seen:?}");

    // What has no gradient stays, weight decay or not; the others go. What is halved is half of what AdamW has made of it.
    let (plain, meddled) = (RecordingCallback::default(), recording);
    let mut plain = plain;
    block_on(plain.watch(&mut new(Vec::new()))).unwrap();
    let value = |recording: &RecordingCallback, path: &str| {
        recording.checkpoints[0].tensors[&format!("value/{path}")].data.clone()
    };
    for (path, (_, value_before)) in before {
        let (with, without) = (value(&meddled, &path), value(&plain, &path));
        let value_before = block_on(read_f32(value_before)).unwrap();
        match path.split('.').nth(2) {
            Some("1") => assert_eq!(with, value_before, "{path}"),
            Some("2") if path.contains("lora_B") => {
                assert_eq!(with, without.iter().map(|x| x * 0.5).collect::<Vec<_>>(), "{path}");
                assert!(without.iter().any(|x| *x != 0.0), "{path}");
            }
            _ => assert_eq!(with, without, "{path}"),
        }
    }

    // Stopped and resumed it is the same run, and what comes before training does not come again.
    let mut first = RecordingCallback { stop_after: Some(3), ..RecordingCallback::default() };
    block_on(first.watch(&mut new(vec![Box::new(Meddler::default())]))).unwrap();
    let mut again = new(vec![Box::new(Meddler::default())]);
    again.resume(first.last()).unwrap();
    let mut second = RecordingCallback::default();
    block_on(second.watch(&mut again)).unwrap();
    assert_eq!(second.last().tensors, meddled.last().tensors);
    assert_eq!(second.last().meta["run"]["hooks"], meddled.last().meta["run"]["hooks"]);
}
