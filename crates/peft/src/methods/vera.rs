//! VeRA: two vectors scale a random update that all layers share (Kopiczko et al. 2023, arXiv 2310.11454, eq. 2).
//!
//! `Δy = λ_b ⊙ B (λ_d ⊙ A x)` with A and B drawn once from the seed, uniform within ±√(6/fan-in) (Kaiming), and never
//! trained. A layer takes the columns of A and the rows of B that it needs. λ_d starts at 0.1 and λ_b at zero.

use burn::tensor::{Device, Tensor};
use stratune_kernels::{Factors, linear};
use stratune_protocol::{MethodConfig, draws};

use crate::delta::{Left, Nature, stays};
use crate::found::Found;
use crate::shared::VeraMatrices;
use crate::site::uniform;
use crate::{Delta, Named, Param, Pass, PeftError, Shared, Site};

/// λ_d where training starts.
const START: f32 = 0.1;

/// The two vectors of a layer.
#[derive(Clone, Debug)]
pub struct Vera {
    /// λ_d, `[rank]`.
    pub lambda_d: Param<1>,
    /// λ_b, `[out]`.
    pub lambda_b: Param<1>,
    inputs: usize,
    dropout: f32,
    site: u64,
}

impl VeraMatrices {
    /// Drawn from the seed for layers of at most `extent` outputs and inputs.
    pub fn new(rank: usize, [outputs, inputs]: [usize; 2], seed: u64, device: &Device) -> Self {
        let bound = |fan_in: usize| (6.0 / fan_in.max(1) as f32).sqrt();
        let a = uniform(&mut draws(seed, "vera_A", [0, 0]), [rank, inputs], bound(inputs), device);
        let b = uniform(&mut draws(seed, "vera_B", [0, 0]), [outputs, rank], bound(rank), device);
        Self { a: Param::frozen(a), b: Param::frozen(b) }
    }
}

impl Vera {
    /// A new one that changes nothing yet.
    ///
    /// # Errors
    /// The rank is 0.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let [outputs, inputs] = site.shape();
        let (rank, _) = config.at(&site.id.path);
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let device = site.device();
        Ok(Self {
            lambda_d: Param::trainable(Tensor::full([rank], START, &device)),
            lambda_b: Param::trainable(Tensor::zeros([outputs], &device)),
            inputs,
            dropout: config.dropout.unwrap_or(0.0),
            site: site.index,
        })
    }

    /// A's first columns and B's first rows; none in a model that lacks the matrices.
    fn slices(&self, shared: &Shared) -> Option<(Tensor<2>, Tensor<2>)> {
        let VeraMatrices { a, b } = shared.vera.as_ref()?;
        let (rank, outputs) = (self.lambda_d.value.dims()[0], self.lambda_b.value.dims()[0]);
        Some((a.value.clone().slice([0..rank, 0..self.inputs]), b.value.clone().slice([0..outputs, 0..rank])))
    }

    /// The layer's output with the addition.
    fn forward(&self, x: Tensor<3>, y: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let Some((a, b)) = self.slices(&pass.shared) else { return y };
        let x = match pass.dropout_mask(self.dropout, self.site, x.dims(), &x.device().inner()) {
            Some(mask) => x * mask,
            None => x,
        };
        let narrow = linear(x, a) * self.lambda_d.value.clone().unsqueeze();
        y + (linear(narrow, b) * self.lambda_b.value.clone().unsqueeze()).mul_scalar(pass.damping)
    }

    /// The dense update, `[out, in]`; none in a model that lacks the matrices.
    fn update(&self, shared: &Shared) -> Option<Tensor<2>> {
        let (a, b) = self.slices(shared)?;
        let b = b * self.lambda_b.value.clone().unsqueeze_dim(1);
        let a = a * self.lambda_d.value.clone().unsqueeze_dim(1);
        Some(b.matmul(a))
    }
}

impl Delta for Vera {
    fn parameters(&mut self) -> Named<'_> {
        vec![("vera_lambda_b", (&mut self.lambda_b).into()), ("vera_lambda_d", (&mut self.lambda_d).into())]
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn nature(&self) -> Nature {
        Nature::PLAIN
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &Found<'_>, pass: &Pass) -> Tensor<3> {
        self.forward(x, y, pass)
    }

    fn merge(&self, weight: Tensor<2>, bias: Option<Tensor<1>>, pass: &Pass) -> (Tensor<2>, Option<Tensor<1>>) {
        match self.update(&pass.shared) {
            Some(update) => (weight + pass.damped(update), bias),
            None => (weight, bias),
        }
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn left(&self) -> Left<'_> {
        stays()
    }

    fn for_base_as_read(&mut self) {}

    /// A and `diag(λ_b) B diag(λ_d)`, if nothing is dropped: a low-rank update, which is made where the layer's output is. Both
    /// vectors are on one side, so that no gradient of the size of A is made.
    fn factors(&self, pass: &Pass) -> Option<Factors> {
        let drops = self.dropout > 0.0 && pass.dropout.is_some();
        let (a, b) = self.slices(&pass.shared).filter(|_| !drops)?;
        let b = b * self.lambda_b.value.clone().unsqueeze_dim(1) * self.lambda_d.value.clone().unsqueeze();
        Some(Factors { a, b, scale: pass.damping })
    }
}
