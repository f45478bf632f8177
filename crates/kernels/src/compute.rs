//! What products multiply in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;
use stratune_protocol::ComputeDtype;

/// Of the process, as its device is.
static NOW: Mutex<Chosen> = Mutex::new(Chosen(Vec::new()));

/// What those that live were made with, the earliest first.
struct Chosen(Vec<ComputeDtype>);

impl Chosen {
    fn of_process() -> MutexGuard<'static, Self> {
        NOW.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self, dtype: ComputeDtype) {
        if let Some(at) = self.0.iter().rposition(|chosen| *chosen == dtype) {
            self.0.remove(at);
        }
    }

    #[cfg(any(feature = "wgpu", feature = "cuda", test))]
    fn now(&self) -> ComputeDtype {
        self.0.last().copied().unwrap_or_default()
    }
}

/// While it lives, products of linear layers multiply in what it was made with, forward and for the gradient of their input; of
/// several the latest counts.
#[derive(Debug)]
pub struct Computing(ComputeDtype);

impl Computing {
    /// Begins.
    pub fn begin(dtype: ComputeDtype) -> Self {
        Chosen::of_process().0.push(dtype);
        Self(dtype)
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        Chosen::of_process().end(self.0);
    }
}

/// What they multiply in now.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) fn now() -> ComputeDtype {
    Chosen::of_process().now()
}

/// What they can multiply in on this device, f32 first. Software adapters have halves too, and gain nothing from them.
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
    fn the_latest_that_lives_counts() {
        let (f32, f16, bf16) = (ComputeDtype::F32, ComputeDtype::F16, ComputeDtype::Bf16);
        let mut chosen = Chosen(vec![bf16, f16, bf16]);
        assert_eq!(chosen.now(), bf16);
        chosen.end(bf16);
        assert_eq!(chosen.now(), f16);
        chosen.0.push(f32);
        assert_eq!(chosen.now(), f32);
        chosen.end(f16);
        chosen.end(f32);
        assert_eq!(chosen.now(), bf16);
        chosen.end(bf16);
        assert_eq!(chosen.now(), f32);
    }
}
