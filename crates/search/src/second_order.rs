//! The slopes of the architecture behind a step of the weights: second-order DARTS (Liu et al. 2019, arXiv 1806.09055).
//!
//! On rows that train the weights w would step to `w' = w − ξ ∇L_w(w)`, with ξ the learning rate of the step; what counts is the
//! loss `L_a(w')` on the rows that are set apart. Its slope in what a module adds is that at w' less
//! `ξ (∂L_w(w⁺) − ∂L_w(w⁻)) / 2ε`, with `w± = w ± ε ∇L_a(w')` and `ε = 0.01 / ‖∇L_a(w')‖`: finite differences in place of a
//! product with the Hessian. It takes three passes over a batch more than the first order does.

use burn::tensor::Tensor;
use stratune_data::Sequence;
use stratune_peft::{Gradients, snapshot};
use stratune_protocol::Problem;
use stratune_runtime::read_f32;
use stratune_train::Run;

use crate::supernet::{Gate, Raw, Slopes, Supernet};

/// ε times the length of the gradient.
const LENGTH: f64 = 0.01;

/// The slopes in what each module adds behind these gates, by rows that train and rows that are set apart, with ξ = `rate`.
///
/// # Errors
/// The device does not answer.
pub async fn second_order_slopes(
    run: &mut Run<'_>,
    supernet: &Supernet,
    gates: &[Gate],
    [train, apart]: [&[&Sequence]; 2],
    rate: f64,
) -> Result<Vec<Slopes>, Problem> {
    let weights: Raw = snapshot(run.model).into_iter().map(|(path, (_, value))| (path, value)).collect();
    let (_, down) = at(run, supernet, gates, &weights, train).await?;
    let (mut slopes, along) = at(run, supernet, gates, &moved(&weights, &down, -rate), apart).await?;
    let squares: Vec<Tensor<1>> = along.values().map(|g| (g.clone() * g.clone()).sum()).collect();
    let length = read_f32(Tensor::cat(squares, 0)).await?.into_iter().map(f64::from).sum::<f64>().sqrt();
    if length > 0.0 {
        let step = LENGTH / length;
        let (ahead, _) = at(run, supernet, gates, &moved(&weights, &along, step), train).await?;
        let (behind, _) = at(run, supernet, gates, &moved(&weights, &along, -step), train).await?;
        let by = rate / (2.0 * step);
        for (slopes, (ahead, behind)) in slopes.iter_mut().zip(ahead.iter().zip(&behind)) {
            slopes.rest -= by * (ahead.rest - behind.rest);
            let ranks = ahead.ranks.iter().zip(&behind.ranks);
            slopes.ranks.iter_mut().zip(ranks).for_each(|(slope, (a, b))| *slope -= by * (a - b));
        }
    }
    Ok(slopes)
}

/// The slopes with these weights by these rows, and the gradients of the weights.
async fn at(
    run: &Run<'_>,
    supernet: &Supernet,
    gates: &[Gate],
    weights: &Raw,
    rows: &[&Sequence],
) -> Result<(Vec<Slopes>, Gradients), Problem> {
    let mut model = run.model.clone();
    Supernet::open(&mut model, weights);
    let values = snapshot(&mut model);
    supernet.close(&mut model, gates);
    let mut gradients = run.gradients(&model, rows, run.batching());
    let slopes = supernet.slopes(&values, &gradients).await?;
    supernet.through_gates(&mut gradients, gates);
    Ok((slopes, gradients))
}

fn moved(weights: &Raw, gradients: &Gradients, by: f64) -> Raw {
    let of = |(path, weight): (&String, &Tensor<1>)| {
        let moved = gradients.get(path).map(|gradient| weight.clone() + gradient.clone().mul_scalar(by));
        (path.clone(), moved.unwrap_or_else(|| weight.clone()))
    };
    weights.iter().map(of).collect()
}
