//! Methods that train vectors at a linear layer.
//!
//! | method | `y' =` | starts at |
//! |---|---|---|
//! | (IA)³ (Liu et al. 2022, arXiv 2205.05638, §3.3) | `l ⊙ y`; at `down_proj` `(l ⊙ x) Wᵀ` | l = 1 |
//! | SSF (Lian et al. 2022, arXiv 2210.08823, eq. 2) | `γ ⊙ y + β` | γ = 1, β = 0 |
//! | BitFit (Ben Zaken et al. 2021, arXiv 2106.10199) | `y + b` | b = 0, beside a bias the model may have |
//! | HiWi (Liao et al. 2023, arXiv 2305.16742, §3.2) | `y + relu(b D) U`, b the layer's own bias | U = 0 |
//!
//! HiWi puts its network on the biases and keeps only the biases it makes. Where a layer has none, or zeros, no gradient
//! would ever reach D: there the network reads a fixed random vector c in their place.

use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use stratune_protocol::{MethodConfig, Role, normals};
use stratune_runtime::read_f32;

use crate::site::{kaiming, uniform};
use crate::{Additions, ModuleId, Param, Pass, PeftError, Site, Visitor};

/// (IA)³'s vector.
#[derive(Clone, Debug)]
pub struct Ia3 {
    /// l as PEFT keeps it: `[out, 1]`, or `[1, in]` where the input is scaled.
    pub scale: Param<2>,
    /// Whether it scales the input.
    pub on_input: bool,
}

impl Ia3 {
    /// A new one that changes nothing yet.
    pub fn new(site: &Site) -> Self {
        let [outputs, inputs] = site.shape();
        let on_input = site.role == Role::Down;
        let shape = if on_input { [1, inputs] } else { [outputs, 1] };
        Self { scale: Param::trainable(Tensor::ones(shape, &site.device())), on_input }
    }

    /// What input or output is multiplied by.
    pub(crate) fn factor(&self, pass: &Pass) -> Tensor<3> {
        let scale = self.scale.value.clone().reshape([1, 1, -1]);
        let ones = Tensor::ones_like(&scale);
        pass.damp(ones, scale)
    }
}

impl Additions for Ia3 {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        visitor.visit(&of.param("ia3_l"), &mut self.scale);
    }
}

/// SSF's two vectors.
#[derive(Clone, Debug)]
pub struct Ssf {
    /// γ, `[out]`.
    pub scale: Param<1>,
    /// β, `[out]`.
    pub shift: Param<1>,
}

impl Ssf {
    /// A new one that changes nothing yet.
    pub fn new(site: &Site) -> Self {
        let (size, device) = ([site.shape()[0]], site.device());
        Self {
            scale: Param::trainable(Tensor::ones(size, &device)),
            shift: Param::trainable(Tensor::zeros(size, &device)),
        }
    }

    pub(crate) fn forward(&self, y: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let (scale, shift) = self.at(pass);
        y * scale.unsqueeze() + shift.unsqueeze()
    }

    /// γ and β at this pass.
    pub(crate) fn at(&self, pass: &Pass) -> (Tensor<1>, Tensor<1>) {
        let (scale, shift) = (self.scale.value.clone(), self.shift.value.clone());
        (pass.damp(Tensor::ones_like(&scale), scale), pass.damped(shift))
    }
}

impl Additions for Ssf {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        visitor.visit(&of.param("ssf_scale"), &mut self.scale);
        visitor.visit(&of.param("ssf_shift"), &mut self.shift);
    }
}

/// BitFit's bias, and what is left of HiWi.
#[derive(Clone, Debug)]
pub struct Bias {
    /// b, `[out]`.
    pub value: Param<1>,
}

impl Bias {
    /// A new one that changes nothing yet.
    pub fn new(site: &Site) -> Self {
        Self { value: Param::trainable(Tensor::zeros([site.shape()[0]], &site.device())) }
    }
}

impl Additions for Bias {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        visitor.visit(&of.param("bias_update"), &mut self.value);
    }
}

/// HiWi's network on a bias.
#[derive(Clone, Debug)]
pub struct Hiwi {
    /// What it reads, `[out]`: the layer's bias, or c.
    pub input: Tensor<1>,
    /// D, `[rank, out]`.
    pub down: Param<2>,
    /// U, `[out, rank]`.
    pub up: Param<2>,
}

impl Hiwi {
    /// A new one that changes nothing yet.
    ///
    /// # Errors
    /// The rank is 0, or the device does not answer.
    pub async fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let (rank, _) = config.at(&site.id.path);
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let (size, device) = (site.shape()[0], site.device());
        let mut rng = site.draws("hiwi");
        let random = normals(&mut rng, size, 1.0);
        let down = uniform(&mut rng, [rank, size], kaiming(size), &device);
        let own = match &site.bias {
            None => None,
            Some(bias) => Some(read_f32(bias.clone()).await.map_err(|e| PeftError::Device(Box::new(e)))?),
        };
        let input = own.filter(|bias| bias.iter().any(|b| *b != 0.0)).unwrap_or(random);
        Ok(Self {
            input: Tensor::from_data(TensorData::new(input, [size]), &device),
            down: Param::trainable(down),
            up: Param::trainable(Tensor::zeros([size, rank], &device)),
        })
    }

    /// The bias that it makes, `[out]`: all that is kept of it.
    pub fn bias(&self) -> Tensor<1> {
        let narrow = relu(self.down.value.clone().matmul(self.input.clone().unsqueeze_dim(1)));
        self.up.value.clone().matmul(narrow).squeeze_dim(1)
    }
}

impl Additions for Hiwi {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        visitor.visit(&of.param("hiwi.down.weight"), &mut self.down);
        visitor.visit(&of.param("hiwi.up.weight"), &mut self.up);
    }
}
