//! Adam on the host, for the architecture's parameters: a few hundred numbers.

use serde::{Deserialize, Serialize};

const BETAS: [f64; 2] = [0.5, 0.999];
const EPSILON: f64 = 1e-8;

/// The moments of a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Adam {
    moments: Vec<Moments>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Moments {
    first: f64,
    second: f64,
    steps: i32,
}

impl Adam {
    /// One step of some of the numbers, which are at `indices` among all, down their gradients, to which `decay` times the
    /// values is added, as PyTorch's Adam does. The first step of a number is its own first one, whenever that is.
    pub fn step_at(&mut self, indices: &[usize], values: &mut [f64], gradients: &[f64], (rate, decay): (f64, f64)) {
        let length = indices.iter().map(|i| i + 1).max().unwrap_or(0);
        if length > self.moments.len() {
            self.moments.resize(length, Moments::default());
        }
        for ((i, value), gradient) in indices.iter().zip(values).zip(gradients) {
            let gradient = gradient + decay * *value;
            let Moments { first, second, steps } = &mut self.moments[*i];
            *steps += 1;
            *first = BETAS[0] * *first + (1.0 - BETAS[0]) * gradient;
            *second = BETAS[1] * *second + (1.0 - BETAS[1]) * gradient * gradient;
            let unbias = BETAS.map(|beta| 1.0 - beta.powi(*steps));
            *value -= rate * (*first / unbias[0]) / ((*second / unbias[1]).sqrt() + EPSILON);
        }
    }

    /// Whether it can be of so many numbers: what a file says is not believed.
    pub fn fits(&self, numbers: usize) -> bool {
        // No run takes as many steps, and one more can be counted.
        let sound = |of: &Moments| of.second >= 0.0 && (0..i32::MAX / 2).contains(&of.steps);
        self.moments.len() <= numbers && self.moments.iter().all(sound)
    }

    /// One step of all of them.
    pub fn step(&mut self, values: &mut [f64], gradients: &[f64], rate: f64, decay: f64) {
        let indices: Vec<usize> = (0..values.len()).collect();
        self.step_at(&indices, values, gradients, (rate, decay));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: the first step is as long as the rate; the second of a gradient of half the size is
    /// 0.1 · (0.5·0.5·1 + 0.5·0.5) / (1 − 0.25) / √((0.999·0.001 + 0.001·0.25) / (1 − 0.999²)).
    #[test]
    fn two_steps_by_hand() {
        let (mut adam, mut value) = (Adam::default(), [1.0]);
        adam.step(&mut value, &[1.0], 0.1, 0.0);
        assert!((value[0] - 0.9).abs() < 1e-8, "{value:?}");
        adam.step(&mut value, &[0.5], 0.1, 0.0);
        let second = ((0.999 * 0.001 + 0.001 * 0.25) / (1.0 - 0.999_f64.powi(2))).sqrt();
        let want = 0.9 - 0.1 * (0.5 / 0.75) / second;
        assert!((value[0] - want).abs() < 1e-7, "{value:?}, not {want}");
    }
}
