//! Loss on rows, forward only.

use burn::tensor::Tensor;
use stratune_data::Sequence;
use stratune_models::{Alter, ForwardOptions, Model};
use stratune_peft::ForwardContext;
use stratune_protocol::Problem;
use stratune_runtime::{read_f32, read_scalars, yield_now};

use crate::{Batching, DeviceBatch, NextToken, Objective};

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
    evaluate_with_progress(objective, model, rows, by, (damping, None), &mut |_| {}).await
}

/// What the classifier says of rows, in their order, and the mean loss; rows are taken as `by` says, and `tell` hears now and
/// then how many are done.
///
/// # Errors
/// The device does not answer.
pub async fn classify(
    objective: &dyn Objective,
    model: &Model,
    rows: &[&Sequence],
    by: Batching,
    tell: &mut dyn FnMut(usize),
) -> Result<(Vec<Vec<f32>>, Evaluation), Problem> {
    let mut said = Vec::new();
    let measured = evaluate_with_progress(objective, model, rows, by, (None, Some(&mut said)), tell).await?;
    Ok((said, measured))
}

/// Batches that a device is given before what it has done is waited for: it must not be far behind what is told, nor go on for
/// long when a person wants an end.
const AHEAD: usize = 8;

/// The same; `tell` hears now and then how many rows are done, and `said` gets the [outputs](Objective::outputs) of each.
///
/// # Errors
/// The device does not answer.
pub(crate) async fn evaluate_with_progress(
    objective: &dyn Objective,
    model: &Model,
    rows: &[&Sequence],
    by: Batching,
    (damping, mut said): (Option<&[f32]>, Option<&mut Vec<Vec<f32>>>),
    tell: &mut dyn FnMut(usize),
) -> Result<Evaluation, Problem> {
    let (mut losses, mut read) = (Vec::new(), Vec::new());
    let (mut tokens, mut done) = (0, 0);
    tell(0);
    for chunk in rows.chunks(by.size.max(1)) {
        let batch = by.to_device(model, chunk);
        tokens += batch.labelled;
        done += chunk.len();
        let x = hidden_states(model, &batch, damping, None);
        if let Some(said) = &mut said
            && let Some(outputs) = objective.outputs(model, &x, &batch)
        {
            let [_, width] = outputs.dims();
            let numbers = read_f32(outputs).await?;
            let mut of_chunk = vec![Vec::new(); chunk.len()];
            for (example, outputs) in batch.examples.iter().zip(numbers.chunks(width.max(1))) {
                of_chunk[*example as usize] = outputs.to_vec();
            }
            said.extend(of_chunk);
        }
        losses.push(objective.loss(model, x, &batch));
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

/// −log p of each row's labels together, in nats, in the order of `rows`; `size` rows run at once. `tell` hears now and then how
/// many are done.
///
/// # Errors
/// The device does not answer.
pub async fn row_losses(
    model: &Model,
    rows: &[&Sequence],
    size: usize,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<f64>, Problem> {
    let by = Batching { size, packing: false };
    let mut sums = vec![0.0; rows.len()];
    // Rows of one length are together: none is padded to the longest of all.
    let mut order: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].label_count() > 0).collect();
    order.sort_by_key(|row| rows[*row].tokens.len());
    let mut done = rows.len() - order.len();
    for chunk in order.chunks(size.max(1)) {
        let examples: Vec<&Sequence> = chunk.iter().map(|row| rows[*row]).collect();
        let batch = by.to_device(model, &examples);
        let x = hidden_states(model, &batch, None, None);
        let mut losses = read_f32(NextToken.losses(model, x, &batch)).await?.into_iter().map(f64::from);
        for (row, example) in chunk.iter().zip(&examples) {
            sums[*row] = losses.by_ref().take(example.label_count()).sum();
        }
        done += chunk.len();
        tell(done);
        yield_now().await;
    }
    Ok(sums)
}

/// Summed loss of one batch, `[1]`.
pub(crate) fn loss(
    objective: &dyn Objective,
    model: &Model,
    batch: &DeviceBatch,
    damping: Option<&[f32]>,
    alter: Option<Alter<'_>>,
) -> Tensor<1> {
    objective.loss(model, hidden_states(model, batch, damping, alter), batch)
}

/// What leaves the last block, `[rows, width, hidden_size]`.
fn hidden_states(model: &Model, batch: &DeviceBatch, damping: Option<&[f32]>, alter: Option<Alter<'_>>) -> Tensor<3> {
    let mut at = batch.model_positions(model);
    let damping = |i: usize| damping.and_then(|d| d.get(i).copied()).unwrap_or(1.0);
    let options =
        ForwardOptions { context: &|i| ForwardContext { damping: damping(i), ..model.inference_context(i) }, alter };
    if let Some(source) = &batch.source {
        at.encoded = model.encode(source, None, options);
    }
    let x = model.forward_blocks(model.embed_with_prompt(batch.tokens.clone(), &at), &at, None, options);
    model.without_prompt(x)
}
