//! What the products of a run's layers multiply in.

use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
use burn::tensor::FloatDType;
use stratune_protocol::ComputeDtype;

/// f16 loses digits below 2⁻¹⁴, and ends at 2¹⁶. The gradient of a token's own loss times this is meant to lie between: of its
/// entries those from 1e-6 to 500 keep all digits.
const LOSS_SCALE: f32 = 64.0;

/// What products of linear layers multiply in, forward and for the gradient of their input. A run's own: its model and its passes
/// carry it, so that runs beside each other in one process may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compute {
    /// The type of the operands; sums are f32 whatever it is.
    pub dtype: ComputeDtype,
    /// What gradients are multiplied by before they are rounded to f16, and their products divided by: a power of two.
    loss_scale: f32,
}

impl Default for Compute {
    /// f32.
    fn default() -> Self {
        Self::new(ComputeDtype::F32)
    }
}

impl Compute {
    /// Of losses that are summed over tokens.
    pub fn new(dtype: ComputeDtype) -> Self {
        Self { dtype, loss_scale: LOSS_SCALE }
    }

    /// The same where gradients are those of a token's own loss times `scale`, as one over the tokens of a mean is: so small that
    /// f16 would lose them, were they not multiplied by the loss scale.
    pub fn of_mean(self, scale: f64) -> Self {
        let power = scale.log2().floor().clamp(-100.0, 0.0).exp2() as f32;
        Self { loss_scale: LOSS_SCALE / power, ..self }
    }

    /// What is not f32, forward or backward.
    #[cfg(any(feature = "wgpu", feature = "cuda", test))]
    pub(crate) fn half(self, backward: bool) -> Option<Half> {
        match self.dtype {
            ComputeDtype::F32 => None,
            ComputeDtype::F16 if backward => Some(Half { dtype: FloatDType::F16, loss_scale: self.loss_scale }),
            ComputeDtype::F16 => Some(Half { dtype: FloatDType::F16, loss_scale: 1.0 }),
            // It ends where f32 does.
            ComputeDtype::Bf16 => Some(Half { dtype: FloatDType::BF16, loss_scale: 1.0 }),
        }
    }
}

/// Half precision, in which products multiply.
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Half {
    pub dtype: FloatDType,
    /// What the left side is multiplied by before, and the product divided by: a power of two.
    pub loss_scale: f32,
}

/// What products can multiply in on this device, f32 first. Software adapters have f16 too, and gain nothing from it.
pub fn compute_dtypes(device: &Device) -> Vec<ComputeDtype> {
    ComputeDtype::ALL.into_iter().filter(|dtype| has(device, *dtype)).collect()
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn has(device: &Device, dtype: ComputeDtype) -> bool {
    use burn::tensor::Tensor;
    use burn_cubecl::CubeBackend;
    use burn_cubecl::cubecl::ir::features::TypeUsage;
    use burn_cubecl::cubecl::prelude::Scalar;
    use half::{bf16, f16};

    use crate::shader::{is_software, suit};

    if dtype == ComputeDtype::F32 {
        return true;
    }
    let Ok(tensor) = Tensor::<1>::zeros([1], device).try_into_primitive::<CubeBackend>() else { return false };
    let uses = match dtype {
        ComputeDtype::Bf16 => bf16::supported_uses(&tensor.client),
        _ => f16::supported_uses(&tensor.client),
    };
    uses.contains(TypeUsage::Buffer)
        && uses.contains(TypeUsage::Conversion)
        && !(suit([&tensor]) && is_software(&tensor))
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn has(_: &Device, dtype: ComputeDtype) -> bool {
    dtype == ComputeDtype::F32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_has_a_loss_scale_of_its_own_backward() {
        let of = |dtype, scale, backward| Compute::new(dtype).of_mean(scale).half(backward);
        let f16 = |loss_scale| Some(Half { dtype: FloatDType::F16, loss_scale });
        for (scale, by) in
            [(0.5, 128.0), (1e-3, 65_536.0), (1.0 / 1024.0, 65_536.0), (3.0, 64.0), (0.0, 2.0_f32.powi(106))]
        {
            assert_eq!(of(ComputeDtype::F16, scale, true), f16(by), "{scale}");
            assert_eq!(of(ComputeDtype::F16, scale, false), f16(1.0));
            let bf16 = Half { dtype: FloatDType::BF16, loss_scale: 1.0 };
            assert_eq!(of(ComputeDtype::Bf16, scale, true), Some(bf16));
            assert_eq!(of(ComputeDtype::F32, scale, true), None);
        }
        assert_eq!(Compute::new(ComputeDtype::F16).half(true), f16(64.0));
    }
}
