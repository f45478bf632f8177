//! Rotary position embedding, half-split as Hugging Face stores it (Su et al. 2021, eq. 34).

mod backward;
#[cfg(feature = "cpu")]
mod flex;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::span;

use reference::RotaryOps;

/// How Llama 3 stretches the long wavelengths to a longer context than it was first trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotaryScaling {
    /// How much longer.
    pub factor: f64,
    /// Wavelengths above `original / low_freq_factor` are stretched by `factor`.
    pub low_freq_factor: f64,
    /// Wavelengths below `original / high_freq_factor` stay; between the two they are blended.
    pub high_freq_factor: f64,
    /// The context it was first trained on.
    pub original_max_position_embeddings: f64,
}

/// The angles of every position, as tables of cosines and sines.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotary {
    /// Tables for `positions` positions and heads of `head_dim`, computed in f64 on the host so that they are the same
    /// numbers on every device.
    pub fn new(head_dim: usize, positions: usize, theta: f64, scaling: Option<RotaryScaling>, device: &Device) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f64> = (0..half)
            .map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64))
            .map(|frequency| scaling.map_or(frequency, |s| s.stretch(frequency)))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> =
                (0..positions).flat_map(|p| frequencies.iter().map(move |w| f(p as f64 * w) as f32)).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 1, positions, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.cos.dims()[2]
    }

    /// Turns each pair `(x[i], x[i + head_dim/2])` by its position's angle; the first row is position `offset`.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, heads, seq, head_dim]`, with `offset + seq` within [`positions`](Self::positions)
    pub fn apply(&self, x: Tensor<4>, offset: usize) -> Tensor<4> {
        let _span = span("rotary, forward");
        let seq = x.dims()[2];
        let angles = |table: &Tensor<4>| table.clone().narrow(2, offset, seq).into_dispatch();
        Tensor::from_dispatch(<Dispatch as RotaryOps>::rotate(x.into_dispatch(), angles(&self.cos), angles(&self.sin)))
    }
}

impl RotaryScaling {
    fn stretch(&self, frequency: f64) -> f64 {
        let wavelength = 2.0 * std::f64::consts::PI / frequency;
        let original = self.original_max_position_embeddings;
        if wavelength < original / self.high_freq_factor {
            return frequency;
        }
        if wavelength > original / self.low_freq_factor {
            return frequency / self.factor;
        }
        let keep = (original / wavelength - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        (1.0 - keep) * frequency / self.factor + keep * frequency
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    #[test]
    fn scores_depend_on_distance_only() {
        let device = Device::flex();
        let rotary = Rotary::new(8, 16, 10_000.0, None, &device);
        let x =
            Tensor::<4>::from_data(TensorData::new((0..8).map(|i| (i as f32).sin()).collect(), [1, 1, 1, 8]), &device);
        let y =
            Tensor::<4>::from_data(TensorData::new((0..8).map(|i| (i as f32).cos()).collect(), [1, 1, 1, 8]), &device);
        let score = |a, b| (rotary.apply(x.clone(), a) * rotary.apply(y.clone(), b)).sum().into_scalar::<f32>();
        // Two turns in f32.
        assert!((score(3, 1) - score(12, 10)).abs() < 1e-5);
        assert!((score(3, 1) - score(3, 2)).abs() > 1e-3);
    }
}
