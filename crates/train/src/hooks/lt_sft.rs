//! LT-SFT: everything trains first, and what moved most trains alone (Ansell et al. 2022, arXiv 2110.07560, §3).

use burn::tensor::Tensor;
use futures::future::LocalBoxFuture;
use stratune_data::{Plan, Sequence};
use stratune_peft::{Gradients, MethodConfig, MethodKind, snapshot};
use stratune_protocol::Problem;

use super::rows::{FullGradientModel, rows_to_look_at, told};

use crate::{AdamW, Batching, Hook, HookState, Rows, Run, Saved, StepKey, learning_rate};

const KIND: MethodKind = MethodKind::LtSft;

pub(super) fn hook(method: &MethodConfig) -> Option<Box<dyn Hook>> {
    (method.kind == KIND).then(|| Box::new(LtSft(method.clone())) as Box<dyn Hook>)
}

struct LtSft(MethodConfig);

impl LtSft {
    /// The batches that everything trains on first: the rows once, or if the method names none as many batches as the
    /// run has.
    fn first_phase<'d>(&self, run: &Run<'d>) -> Vec<Vec<&'d Sequence>> {
        let train = &run.config.train;
        if self.0.samples != Some(0) {
            return rows_to_look_at(run, &self.0).chunks(train.batch_size).map(<[_]>::to_vec).collect();
        }
        let all = run.rows(Rows::Train);
        let plan = Plan::new(all, train.batch_size, train.seed);
        let rows = |k: usize| plan.batch(k as u64).into_iter().filter_map(|i| all.get(i)).collect();
        (0..run.steps * train.accumulation).map(rows).collect()
    }

    /// Scores weights by how far each has moved when everything has trained on the batches.
    async fn choose(&self, run: &mut Run<'_>) -> Result<(), Problem> {
        let batches = self.first_phase(run);
        let mut full_gradient_model = FullGradientModel::of(run.model, KIND);
        let before = snapshot(&mut full_gradient_model.model);
        let train = &run.config.train;
        let (mut adam, by) = (AdamW::new(train.weight_decay), Batching::from(train));
        for (step, batch) in batches.iter().enumerate() {
            let at = StepKey { seed: train.seed, step };
            let whole = run.gradients(&full_gradient_model.model, batch, by);
            let rate = learning_rate(train, step, batches.len());
            adam.step(&mut full_gradient_model.model, whole, train.clip_norm, |_| rate, at);
            told(run, KIND, step + 1, batches.len()).await;
        }
        let moved = |(path, (_, after)): (String, (_, Tensor<1>))| {
            let (_, before) = before.get(&path)?;
            Some((path, (after - before.clone()).abs()))
        };
        let scores: Gradients = snapshot(&mut full_gradient_model.model).into_iter().filter_map(moved).collect();
        full_gradient_model.choose(run.model, &scores).await?;
        let (title, count) = (KIND.title(), batches.iter().map(Vec::len).sum::<usize>());
        run.notice(format!("{title} trained everything on {count} rows, and goes on with what moved most"));
        Ok(())
    }
}

impl Hook for LtSft {
    fn name(&self) -> &'static str {
        "lt_sft"
    }

    fn before_training<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.choose(run))
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        // The places are the model's.
        Box::pin(async { Ok(HookState::default()) })
    }

    fn load(&mut self, _: &Saved<'_>) -> Result<(), Problem> {
        Ok(())
    }
}
