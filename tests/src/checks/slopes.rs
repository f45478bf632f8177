//! Gradients beside the slopes of the loss along random directions.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use rand::RngExt;
use stratune_models::Model;
use stratune_peft::{restore, snapshot};
use stratune_protocol::draws;
use stratune_runtime::read_f32;

/// How much the loss should change at a step: above its rounding, and in the straight part of its way.
const RISE: f32 = 2e-4;
/// The longest step of a number.
const LONGEST: f32 = 0.01;
/// What f32 leaves of a mean loss.
const ROUNDING: f64 = 2e-6;

/// What the loss does on either side of x along h v, beside ⟨gradient, h v⟩, for every parameter, each number of v ±1 at
/// random: whatever part of a gradient is missing, half of all directions have as much of it as of any other. Where the way is
/// smooth the two sides agree, and where it has a kink (relu) a gradient lies between them. `loss` is the mean loss of the
/// model.
///
/// # Errors
/// Names the first parameter whose slope is outside of the two sides by more than 3 % of what its gradient's length is worth,
/// which is what the way's bends leave, and the rounding of the loss.
pub async fn slopes_along_random_directions(
    model: &Model,
    gradients: &BTreeMap<String, Vec<f32>>,
    loss: impl AsyncFn(Model) -> f64,
) -> Result<(), String> {
    let values: BTreeMap<String, Tensor<1>> =
        snapshot(&mut model.clone()).into_iter().map(|(path, (_, value))| (path, value)).collect();
    for (path, gradient) in gradients {
        let value = values.get(path).ok_or_else(|| format!("{path} has a gradient and does not train"))?;
        let there = read_f32(value.clone()).await.map_err(|p| p.to_string())?;
        let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        let here = loss(model.clone()).await;
        for draw in 0..2 {
            let mut rng = draws(12, path, [draw, 0]);
            let signs: Vec<f32> = gradient.iter().map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect();
            let along: f64 = gradient.iter().zip(&signs).map(|(g, sign)| f64::from(g * sign)).sum();
            let mut told = Err(String::new());
            // On a long way there are kinks on both sides, and fewer on a short one; on the shortest the rounding is a tenth of
            // what the loss should change.
            for shorter in [1.0, 0.25, 0.1] {
                let step = shorter * (RISE / length).min(LONGEST);
                let mut losses = Vec::new();
                for step in [step, -step] {
                    let nudged: Vec<f32> = there.iter().zip(&signs).map(|(x, sign)| x + sign * step).collect();
                    let mut nudged_values = values.clone();
                    nudged_values.insert(path.clone(), Tensor::from_floats(nudged.as_slice(), &value.device()));
                    let mut nudged = model.clone();
                    restore(&mut nudged, &nudged_values)?;
                    losses.push(loss(nudged).await);
                }
                let ([above, below], ours) = ([losses[0] - here, here - losses[1]], along * f64::from(step));
                let allowed = 0.03 * f64::from(length * step) + ROUNDING;
                told = match ours >= above.min(below) - allowed && ours <= above.max(below) + allowed {
                    true if !(above.is_nan() || below.is_nan()) => Ok(()),
                    _ => Err(format!("{path}: the loss rises by {below:e} and {above:e}, its gradient says {ours:e}")),
                };
                if told.is_ok() {
                    break;
                }
            }
            told?;
        }
    }
    Ok(())
}
