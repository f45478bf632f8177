//! LoRA: a low-rank update (Hu et al. 2021, arXiv 2106.09685, eq. 3).
//!
//! `y = x Wᵀ + (α/r) · (x Aᵀ) Bᵀ`, on the activation side: `W + s·BA` is never formed while training, so a step costs 4N
//! multiply-adds a token and not 6N, and no gradient as large as W exists.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use stratune_kernels::linear;
use stratune_protocol::draws;

use crate::{Param, Parameters, Pass, PeftError, Visitor};

/// The two factors of an update.
#[derive(Clone, Debug)]
pub struct Lora {
    /// A, `[rank, in]`.
    pub a: Param<2>,
    /// B, `[out, rank]`.
    pub b: Param<2>,
    /// What the product is multiplied by: α/r.
    pub scale: f32,
    /// Share of the input's entries that training drops.
    pub dropout: f32,
    /// Number of this site within its block: tells its dropout draws from its neighbours'.
    pub site: u64,
}

/// What a new update looks like.
#[derive(Clone, Copy, Debug)]
pub struct LoraShape {
    /// Rank, r.
    pub rank: usize,
    /// Scale α/r of the product.
    pub scale: f32,
    /// Dropout on the input.
    pub dropout: f32,
    /// Number of the site within its block.
    pub site: u64,
}

impl Lora {
    /// A new update that changes nothing yet: A is uniform within ±1/√in (Kaiming-uniform with a = √5), B is zero.
    /// The draws depend on `seed` and `path` alone.
    ///
    /// # Errors
    /// The rank does not fit the layer.
    pub fn new(
        [outputs, inputs]: [usize; 2],
        shape: LoraShape,
        seed: u64,
        at: [u64; 2],
        device: &Device,
    ) -> Result<Self, PeftError> {
        let LoraShape { rank, scale, dropout, site } = shape;
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let smaller = outputs.min(inputs);
        if rank > smaller {
            return Err(PeftError::RankAboveMatrix { rank, smaller, outputs, inputs });
        }
        let mut rng = draws(seed, "lora_A", at);
        let bound = (inputs as f32).sqrt().recip();
        let a: Vec<f32> = (0..rank * inputs).map(|_| rng.random_range(-bound..bound)).collect();
        Ok(Self {
            a: Param::trainable(Tensor::from_data(TensorData::new(a, [rank, inputs]), device)),
            b: Param::trainable(Tensor::zeros([outputs, rank], device)),
            scale,
            dropout,
            site,
        })
    }

    /// An update with given factors.
    ///
    /// # Errors
    /// The factors do not fit each other or the layer.
    pub fn from_factors(
        [outputs, inputs]: [usize; 2],
        a: Tensor<2>,
        b: Tensor<2>,
        shape: LoraShape,
    ) -> Result<Self, PeftError> {
        let LoraShape { rank, scale, dropout, site } = shape;
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        if a.dims() != [rank, inputs] || b.dims() != [outputs, rank] {
            return Err(PeftError::Shape { a: a.dims(), b: b.dims(), outputs, inputs });
        }
        Ok(Self { a: Param::trainable(a), b: Param::trainable(b), scale, dropout, site })
    }

    /// The addition to the layer's output.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, out]`
    pub fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let x = match pass.dropout_mask(self.dropout, self.site, x.dims(), &x.device().inner()) {
            Some(mask) => x * mask,
            None => x,
        };
        let narrow = linear(x, self.a.value.clone()).mul_scalar(self.scale * pass.damping);
        linear(narrow, self.b.value.clone())
    }

    /// The dense update `s·BA`, `[out, in]`.
    pub fn update(&self) -> Tensor<2> {
        self.b.value.clone().matmul(self.a.value.clone()).mul_scalar(self.scale)
    }
}

impl Parameters for Lora {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        visitor.visit(&format!("{path}.lora_A.weight"), &mut self.a);
        visitor.visit(&format!("{path}.lora_B.weight"), &mut self.b);
    }
}
