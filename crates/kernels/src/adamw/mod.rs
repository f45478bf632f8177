//! One step of AdamW on parameters that are updated together (Loshchilov and Hutter 2019, algorithm 2), in one pass
//! over their numbers.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};

use crate::tensor_list::{join, offsets, split};
use reference::AdamwOps;

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwStep {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// The parameter's step, from 1.
    pub step_count: usize,
}

impl AdamwStep {
    /// What the parameter is multiplied by.
    fn decay_factor(&self) -> f32 {
        (1.0 - self.rate * f64::from(self.weight_decay)) as f32
    }

    /// What the moments are multiplied by where they move it: the first by the rate and its correction, the second by
    /// its correction.
    fn corrections(&self) -> [f32; 2] {
        let of = |beta: f32| 1.0 - f64::from(beta).powi(self.step_count as i32);
        [(self.rate / of(self.beta_1)) as f32, of(self.beta_2).recip() as f32]
    }
}

/// First and second moments of parameters that are updated together, side by side.
#[derive(Clone, Debug)]
pub struct Moments {
    counts: Vec<usize>,
    of: [Tensor<1>; 2],
}

impl Moments {
    /// Of parameters of these lengths, at least one, without a step.
    pub fn zeros(counts: Vec<usize>, device: &Device) -> Self {
        let (_, total) = offsets(&counts);
        Self { counts, of: [0, 1].map(|_| Tensor::zeros([total], device)) }
    }

    /// Of one parameter.
    pub fn one(of: [Tensor<1>; 2]) -> Self {
        Self { counts: vec![of[0].dims()[0]], of }
    }

    /// Of the parameters of all of these, at least one.
    pub fn join(all: Vec<Self>) -> Self {
        let counts = all.iter().flat_map(|moments| moments.counts.clone()).collect();
        let parts: Vec<[Tensor<1>; 2]> = all.into_iter().flat_map(Self::split).collect();
        let of = |moment: usize| join(parts.iter().map(|part| part[moment].clone()).collect());
        Self { counts, of: [of(0), of(1)] }
    }

    /// First and second moment of each parameter.
    pub fn split(self) -> Vec<[Tensor<1>; 2]> {
        let [first, second] = self.of.map(|of| split(of, &self.counts));
        first.into_iter().zip(second).map(|(first, second)| [first, second]).collect()
    }

    /// How many numbers each parameter has.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }
}

/// Parameters and their moments after a step.
#[derive(Clone, Debug)]
pub struct AdamwOutput {
    /// The parameters.
    pub values: Vec<Tensor<1>>,
    /// Their moments.
    pub moments: Moments,
}

/// `m ← β₁ m + (1 − β₁) f g`, `v ← β₂ v + (1 − β₂) (f g)²`, `θ ← (1 − η λ) θ − η m̂ / (√v̂ + ε)`, where `m̂` and `v̂` are
/// over `1 − βᵗ`.
///
/// # Shapes
/// - `values`, `gradients`: as many as have moments, of as many numbers each; `factor`, f: `[1]`
pub fn adamw(
    values: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
    factor: &Tensor<1>,
    Moments { counts, of }: Moments,
    step: AdamwStep,
) -> AdamwOutput {
    let [value, gradient] = [values, gradients].map(|parts| join(parts).into_dispatch());
    let [first, second] = of.map(Tensor::into_dispatch);
    let factor = factor.clone().into_dispatch();
    let (value, first, second) = <Dispatch as AdamwOps>::adamw(value, gradient, factor, first, second, step);
    let [value, first, second] = [value, first, second].map(Tensor::from_dispatch);
    AdamwOutput { values: split(value, &counts), moments: Moments { counts, of: [first, second] } }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    /// Moments come apart and together, and a step of two parameters is that of each.
    #[test]
    fn together_they_step_as_each_alone() {
        let device = Device::flex();
        let tensor = |count: usize, by: f32| {
            let values: Vec<f32> = (0..count).map(|i| (i as f32 * by).sin()).collect();
            Tensor::<1>::from_floats(&values[..], &device)
        };
        let numbers = |t: &Tensor<1>| t.to_data().iter::<f32>().collect::<Vec<_>>();
        let step = AdamwStep { rate: 0.01, beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8, weight_decay: 0.1, step_count: 2 };
        let counts = [70, 3];
        let values = counts.map(|count| tensor(count, 0.3));
        let gradients = counts.map(|count| tensor(count, 0.7));
        let moments = counts.map(|count| Moments::one([tensor(count, 1.1), tensor(count, 1.3).square()]));
        let factor = Tensor::from_floats([0.5], &device);

        let joined = Moments::join(moments.to_vec());
        assert_eq!(joined.counts(), counts);
        let both = adamw(values.to_vec(), gradients.to_vec(), &factor, joined, step);
        let after = both.moments.split();
        for i in 0..2 {
            let one = adamw(vec![values[i].clone()], vec![gradients[i].clone()], &factor, moments[i].clone(), step);
            assert_eq!(numbers(&both.values[i]), numbers(&one.values[0]));
            let alone = one.moments.split();
            assert_eq!(after[i].each_ref().map(numbers), alone[0].each_ref().map(numbers));
        }
        assert_eq!(numbers(&Moments::zeros(vec![3, 1], &device).split()[1][0]), [0.0]);
    }
}
