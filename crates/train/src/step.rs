//! One step: the hook chooses, the batches run, the optimiser moves what trains.

use burn::tensor::Tensor;
use stratune_peft::{Dropout, Gradients, blocks_that_fit};
use stratune_protocol::{OptimiserKind, Problem, StepReport};
use stratune_runtime::{Control, memory_in_use, span};

use crate::metrics_logger::StepMetrics;
use crate::progress::ProgressReporter;
use crate::{
    Batching, DeviceBatch, MezoStep, Perturbation, Selection, StepKey, SweepOptions, Trainer, TrainerCallback,
    learning_rate, sweep,
};

impl Trainer {
    /// One optimiser step; its numbers stay on the device.
    pub(crate) async fn step(
        &mut self,
        callback: &mut dyn TrainerCallback,
        control: &Control,
    ) -> Result<StepMetrics, Problem> {
        self.prepare_unless_stopped(callback, control).await?;
        let (step, accumulation) = (self.state.step, self.config.train.accumulation);
        let by = Batching::from(&self.config.train);
        let selection = self.select(callback, control).await?;
        let first = (step * accumulation) as u64;
        let cursor = first..first + accumulation as u64;
        let upload = |k| (k, by.to_device(&self.model, &self.rows(&self.plan.batch(k))));
        let batches: Vec<(u64, DeviceBatch)> = cursor.map(upload).collect();
        let sum = |of: fn(&DeviceBatch) -> usize| batches.iter().map(|(_, batch)| of(batch)).sum::<usize>();
        let (labelled, tokens, positions) = (sum(|b| b.labelled), sum(|b| b.real_tokens), sum(DeviceBatch::size));
        let rate = learning_rate(&self.config.train, step, self.steps);
        let (loss, norm) = match self.config.train.optimiser {
            OptimiserKind::Adamw => self.adamw_step(callback, &batches, &selection, labelled, rate).await?,
            OptimiserKind::Mezo => self.mezo_step(&batches, &selection, rate).await?,
        };
        self.state.step += 1;
        self.after_step(callback).await?;
        let report = StepReport {
            step: self.state.step,
            learning_rate: rate,
            tokens: tokens as u64,
            positions: positions as u64,
            memory_bytes: memory_in_use(&self.model.device()),
            sampled: (0..selection.active.len()).filter(|i| selection.active[*i]).collect(),
            ..StepReport::default()
        };
        Ok(StepMetrics { report, loss, labelled, norm })
    }

    /// AdamW's step, down the gradient. Gives the summed loss and the gradient's norm.
    async fn adamw_step(
        &mut self,
        callback: &mut dyn TrainerCallback,
        batches: &[(u64, DeviceBatch)],
        Selection { active, rates }: &Selection,
        labelled: usize,
        rate: f64,
    ) -> Result<(Tensor<1>, Tensor<1>), Problem> {
        let (loss, mut gradients) = self.gradients(batches, active, labelled);
        self.model.add_penalties(active, &mut gradients);
        {
            let progress = ProgressReporter::of(|event| callback.emit(event));
            let (emit, tell) =
                (|event| progress.emit(event), |what: &str, done, total| progress.tell(what, done, total));
            let (mut run, hooks) = self.acted_on(&emit, &tell);
            for hook in hooks {
                hook.after_backward(&mut run, &mut gradients).await?;
            }
        }
        let _span = span("optimiser");
        let train = &self.config.train;
        let at = StepKey { seed: train.seed, step: self.state.step };
        let rate = |block: Option<usize>| rate * block.and_then(|block| rates.get(block)).copied().unwrap_or(1.0);
        let norm = self.optimiser.step(&mut self.model, gradients, train.clip_norm, rate, at);
        Ok((loss, norm))
    }

    /// The summed loss of the batches, and the gradients of its mean.
    fn gradients(&self, batches: &[(u64, DeviceBatch)], active: &[bool], labelled: usize) -> (Tensor<1>, Gradients) {
        let train = &self.config.train;
        let report = self.report.get_or_init(|| self.model.config.report("", 0));
        let fits = |batch: &DeviceBatch| blocks_that_fit(report, &self.config.method, batch.size(), train.graph_memory);
        let mut gradients = Gradients::new();
        let mut loss = Tensor::zeros([1], &self.model.device());
        for (k, batch) in batches {
            let options = SweepOptions {
                objective: &*self.objective,
                active,
                dropout: Some(Dropout { seed: train.seed, batch: *k }),
                keep_graphs: train.keep_graphs.max(fits(batch)),
                scale: 1.0 / labelled.max(1) as f64,
            };
            let swept = sweep(&self.model, batch, &options);
            for (path, gradient) in swept.gradients {
                let sum = match gradients.remove(&path) {
                    Some(there) => there + gradient,
                    None => gradient,
                };
                gradients.insert(path, sum);
            }
            loss = loss + swept.loss;
        }
        (loss, gradients)
    }

    /// Has the hooks do what comes after a step.
    async fn after_step(&mut self, callback: &mut dyn TrainerCallback) -> Result<(), Problem> {
        let progress = ProgressReporter::of(|event| callback.emit(event));
        let (emit, tell) = (|event| progress.emit(event), |what: &str, done, total| progress.tell(what, done, total));
        let (mut run, hooks) = self.acted_on(&emit, &tell);
        for hook in hooks {
            hook.after_step(&mut run).await?;
        }
        Ok(())
    }

    /// MeZO's step. Gives the summed loss and the magnitude of the projected gradient.
    async fn mezo_step(
        &mut self,
        batches: &[(u64, DeviceBatch)],
        Selection { active, rates }: &Selection,
        rate: f64,
    ) -> Result<(Tensor<1>, Tensor<1>), Problem> {
        let train = &self.config.train;
        let perturbation = Perturbation { seed: train.seed, step: self.state.step };
        let batches: Vec<DeviceBatch> = batches.iter().map(|(_, batch)| batch.clone()).collect();
        let blocks: Vec<usize> = (0..active.len()).filter(|i| active[*i]).collect();
        let estimate = perturbation
            .projected_gradient(&*self.objective, &self.model, &batches, &blocks, train.perturbation)
            .await?;
        let rates = match rates.iter().all(|rate| *rate == 1.0) {
            true => Vec::new(),
            false => blocks.iter().map(|block| rates[*block]).collect(),
        };
        let taken = MezoStep { length: rate * estimate.projected_grad, blocks, rates };
        perturbation.apply(&mut self.model, &taken);
        self.state.mezo_steps.push(taken);
        let number = |x: f64| Tensor::<1>::from_floats([x as f32], &self.model.device());
        Ok((number(estimate.loss), number(estimate.projected_grad.abs())))
    }
}
