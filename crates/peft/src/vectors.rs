//! Methods that train vectors at a linear layer.
//!
//! | method | `y' =` | starts at |
//! |---|---|---|
//! | (IA)³ (Liu et al. 2022, arXiv 2205.05638, §3.3) | `l ⊙ y`; at `down_proj` `(l ⊙ x) Wᵀ` | l = 1 |
//! | SSF (Lian et al. 2022, arXiv 2210.08823, eq. 2) | `γ ⊙ y + β` | γ = 1, β = 0 |
//! | BitFit (Ben Zaken et al. 2021, arXiv 2106.10199) | `y + b` | b = 0, beside a bias the model may have |
//! | HiWi (Liao et al. 2023, arXiv 2305.16742, §3.2) | `y + relu((b₀ + c) D) U` | U = 0 |
//!
//! HiWi puts its network on the biases and keeps only the biases it makes. A model without biases would feed it zeros,
//! and no gradient would ever reach D; so it reads a fixed random vector c beside the bias b₀ = 0.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use stratune_protocol::{MethodConfig, Role, normals};

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

    pub(crate) fn merged(&self, weight: Tensor<2>) -> Tensor<2> {
        weight * self.scale.value.clone()
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
        let changed = y.clone() * self.scale.value.clone().unsqueeze() + self.shift.value.clone().unsqueeze();
        pass.damp(y, changed)
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

    /// At this pass.
    pub(crate) fn at(&self, pass: &Pass) -> Tensor<1> {
        damped(self.value.value.clone(), pass)
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
    /// c, `[out]`: fixed, from the seed.
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
    /// The rank is 0.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let (rank, _) = config.at(&site.id.path);
        if rank == 0 {
            return Err(PeftError::RankZero);
        }
        let (size, device) = (site.shape()[0], site.device());
        let mut rng = site.draws("hiwi");
        let input = normals(&mut rng, size, 1.0);
        let down = uniform(&mut rng, [rank, size], kaiming(size), &device);
        Ok(Self {
            input: Tensor::from_data(burn::tensor::TensorData::new(input, [size]), &device),
            down: Param::trainable(down),
            up: Param::trainable(Tensor::zeros([size, rank], &device)),
        })
    }

    /// The bias that it makes, `[out]`: all that is kept of it.
    pub fn bias(&self) -> Tensor<1> {
        let narrow = relu(self.down.value.clone().matmul(self.input.clone().unsqueeze_dim(1)));
        self.up.value.clone().matmul(narrow).squeeze_dim(1)
    }

    /// The same at this pass.
    pub(crate) fn at(&self, pass: &Pass) -> Tensor<1> {
        damped(self.bias(), pass)
    }
}

fn damped(bias: Tensor<1>, pass: &Pass) -> Tensor<1> {
    if pass.damping == 1.0 { bias } else { bias.mul_scalar(pass.damping) }
}

impl Additions for Hiwi {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        visitor.visit(&of.param("hiwi.down.weight"), &mut self.down);
        visitor.visit(&of.param("hiwi.up.weight"), &mut self.up);
    }
}
