//! Loss on rows, forward only.

use burn::tensor::Tensor;
use stratune_data::Sequence;
use stratune_models::{Alter, ForwardOptions, Model};
use stratune_peft::ForwardContext;
use stratune_protocol::Problem;
use stratune_runtime::{read_scalars, yield_now};

use crate::{Batching, DeviceBatch, Objective};

/// A mean loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean over the labels, in nats.
    pub loss: f64,
    /// Learned tokens.
    pub tokens: usize,
}

/// The mean of `objective` over `rows`, taken as `by` says; `damping` multiplies each block's update (none: all by one).
///
/// # Errors
/// The device does not answer.
pub async fn evaluate(
    objective: &dyn Objective,
    model: &Model,
    rows: &[&Sequence],
    by: Batching,
    damping: Option<&[f32]>,
) -> Result<Evaluation, Problem> {
    evaluate_with_progress(objective, model, rows, by, damping, &mut |_| {}).await
}

/// Batches that a device is given before what it has done is waited for: it must not be far behind what is told, nor go on for
/// long when a person wants an end.
const AHEAD: usize = 8;

/// The same; `tell` hears now and then how many rows are done.
///
/// # Errors
/// The device does not answer.
pub(crate) async fn evaluate_with_progress(
    objective: &dyn Objective,
    model: &Model,
    rows: &[&Sequence],
    by: Batching,
    damping: Option<&[f32]>,
    tell: &mut dyn FnMut(usize),
) -> Result<Evaluation, Problem> {
    let (mut losses, mut read) = (Vec::new(), Vec::new());
    let (mut tokens, mut done) = (0, 0);
    tell(0);
    for chunk in rows.chunks(by.size.max(1)) {
        let batch = by.to_device(model, chunk);
        tokens += batch.labelled;
        done += chunk.len();
        losses.push(loss(objective, model, &batch, damping, None));
        if losses.len() == AHEAD {
            read.extend(read_scalars(std::mem::take(&mut losses)).await?);
        }
        tell(done);
        yield_now().await;
    }
    read.extend(read_scalars(losses).await?);
    let sum: f64 = read.iter().sum();
    Ok(Evaluation { loss: sum / tokens.max(1) as f64, tokens })
}

/// Summed loss of one batch, `[1]`.
pub(crate) fn loss(
    objective: &dyn Objective,
    model: &Model,
    batch: &DeviceBatch,
    damping: Option<&[f32]>,
    alter: Option<Alter<'_>>,
) -> Tensor<1> {
    let at = batch.model_positions(model);
    let damping = |i: usize| damping.and_then(|d| d.get(i).copied()).unwrap_or(1.0);
    let options =
        ForwardOptions { context: &|i| ForwardContext { damping: damping(i), ..model.inference_context(i) }, alter };
    let x = model.forward_blocks(model.embed_with_prompt(batch.tokens.clone(), &at), &at, None, options);
    objective.loss(model, model.without_prompt(x), batch)
}
