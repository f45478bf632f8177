//! One step of AdamW on one parameter (Loshchilov and Hutter 2019, algorithm 2), in one pass over its numbers.

#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

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
    /// How often the parameter has moved, this step included.
    pub time: usize,
}

impl AdamwStep {
    /// What the parameter is multiplied by.
    fn kept(&self) -> f32 {
        (1.0 - self.rate * f64::from(self.weight_decay)) as f32
    }

    /// What the moments are multiplied by where they move it: the first by the rate and its correction, the second by
    /// its correction.
    fn corrections(&self) -> [f32; 2] {
        let of = |beta: f32| 1.0 - f64::from(beta).powi(self.time as i32);
        [(self.rate / of(self.beta_1)) as f32, of(self.beta_2).recip() as f32]
    }
}

/// A parameter and its moments after a step.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The parameter.
    pub value: Tensor<1>,
    /// First and second moment.
    pub moments: [Tensor<1>; 2],
}

/// `m ← β₁ m + (1 − β₁) f g`, `v ← β₂ v + (1 − β₂) (f g)²`, `θ ← (1 − η λ) θ − η m̂ / (√v̂ + ε)`, where `m̂` and `v̂` are
/// over `1 − βᵗ`.
///
/// # Shapes
/// - `value`, `gradient`, moments: `[count]`; `factor`, f: `[1]`
pub fn adamw(
    value: Tensor<1>,
    gradient: Tensor<1>,
    factor: &Tensor<1>,
    moments: [Tensor<1>; 2],
    step: AdamwStep,
) -> Moved {
    let [first, second] = moments.map(Tensor::into_dispatch);
    let (value, first, second) = <Dispatch as AdamwOps>::adamw(
        value.into_dispatch(),
        gradient.into_dispatch(),
        factor.clone().into_dispatch(),
        first,
        second,
        step,
    );
    Moved { value: Tensor::from_dispatch(value), moments: [first, second].map(Tensor::from_dispatch) }
}
