//! Are the loss and the optimiser's step right on this device?

use burn::tensor::{Device, Tensor, TensorData};

use super::Fault;
use super::host::{check, dot, wave};
use crate::cross_entropy::{NeedsGrad, linear_cross_entropy};
use crate::{AdamwStep, Compute, GroupedGradients, Moments, adamw, group_gradients};

/// The loss of some rows among so many tokens, and its gradient with respect to the rows.
pub async fn loss_is_right(device: &Device, vocabulary: usize) -> Result<(), Fault> {
    let (rows, width) = (9, 12);
    let (h, w) = (wave(rows * width, 0.37), wave(vocabulary * width, 0.73));
    let target = |row: usize| (row + 1) * (vocabulary - 1) / rows;
    let mut loss = 0.0_f64;
    let mut expected = Vec::new();
    for (row, h) in h.chunks(width).enumerate() {
        let powers: Vec<f64> = w.chunks(width).map(|w| dot(w, h).exp()).collect();
        let total: f64 = powers.iter().sum();
        loss -= (powers[target(row)] / total).ln();
        let error = |j: usize| powers[j] / total - if j == target(row) { 1.0 } else { 0.0 };
        let pull = |i: usize| (0..vocabulary).map(|j| 0.5 * error(j) * f64::from(w[j * width + i])).sum::<f64>();
        expected.extend((0..width).map(|i| pull(i) as f32));
    }
    let matrix = |values: Vec<f32>| {
        let sides = [values.len() / width, width];
        Tensor::<2>::from_data(TensorData::new(values, sides), device)
    };
    let targets: Vec<i32> = (0..rows).map(|row| target(row) as i32).collect();
    let targets = Tensor::from_data(TensorData::new(targets, [rows]), device);
    let entropy =
        linear_cross_entropy(matrix(h), &[matrix(w).into()], None, targets, 0.5, NeedsGrad::Hidden, Compute::default());
    let name = format!("cross-entropy of {vocabulary}");
    check(&name, entropy.loss.unsqueeze(), &[loss as f32]).await?;
    let gradient = entropy.d_hidden.ok_or_else(|| Fault::Wrong(format!("{name} gives no gradient")))?;
    check(&format!("gradient of {name}"), gradient.unsqueeze(), &expected).await
}

/// The second step of AdamW on two parameters that lie side by side, and the norm of their gradients.
pub async fn step_is_right(device: &Device, count: usize) -> Result<(), Fault> {
    let numbers = wave(count, 0.37);
    let tensor = |values: Vec<f32>| {
        let count = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [count]), device)
    };
    let step = AdamwStep { rate: 0.1, beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8, weight_decay: 0.1, step_count: 2 };
    let squares = numbers.iter().map(|x| x * x).collect();
    let moments = Moments::one([tensor(numbers.clone()), tensor(squares)]);
    let twice = || vec![tensor(numbers.clone()), tensor(numbers.clone())];
    let GroupedGradients { groups, norm: got } = group_gradients(vec![twice()], device);
    let gradients = groups.into_iter().flatten().collect();
    let moved = adamw(twice(), gradients, &tensor(vec![2.0]), Moments::join(vec![moments.clone(), moments]), step);
    // m = 0.9 x + 0.1 · 2x over 1 − 0.9², v = 0.99 x² + 0.01 · 4x² over 1 − 0.99².
    let delta = |x: f32| 0.1 * (1.1 * x / 0.19) / ((1.03 * x * x / 0.0199).sqrt() + 1e-8);
    let expected: Vec<f32> = numbers.iter().map(|x| 0.99 * x - delta(*x)).collect();
    for value in moved.values {
        check("adamw", value.unsqueeze(), &expected).await?;
    }
    let norm = (2.0 * dot(&numbers, &numbers)).sqrt() as f32;
    check("norm of gradients", got.unsqueeze(), &[norm]).await
}
