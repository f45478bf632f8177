//! What products multiply in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
use burn::tensor::FloatDType;
use stratune_protocol::ComputeDtype;

/// Halves lose digits below 2⁻¹⁴, and end at 2¹⁶. The gradient of a token's own loss times this is meant to lie between: of its
/// entries those from 1e-6 to 500 keep all digits.
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
const MIDDLE: f32 = 64.0;

/// Of the process, as its device is.
static NOW: Mutex<Alive> = Mutex::new(Alive { born: 0, all: Vec::new() });

/// Those that live, the earliest first.
struct Alive {
    born: u64,
    all: Vec<One>,
}

// A build with the CPU alone has nobody who asks.
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda", test)), allow(dead_code))]
struct One {
    id: u64,
    dtype: ComputeDtype,
    /// What gradients are those of a single token times, as near as a power of two is from below.
    scale: f32,
}

impl Alive {
    fn of_process() -> MutexGuard<'static, Self> {
        NOW.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&mut self, dtype: ComputeDtype) -> u64 {
        self.born += 1;
        self.all.push(One { id: self.born, dtype, scale: 1.0 });
        self.born
    }

    fn end(&mut self, id: u64) {
        self.all.retain(|one| one.id != id);
    }

    fn scale(&mut self, by: f64) {
        if let Some(latest) = self.all.last_mut() {
            latest.scale = by.log2().floor().clamp(-100.0, 0.0).exp2() as f32;
        }
    }

    #[cfg(any(feature = "wgpu", feature = "cuda", test))]
    fn halves(&self, back: bool) -> Option<Halves> {
        let One { dtype, scale, .. } = self.all.last()?;
        let raised = if back { MIDDLE / scale } else { 1.0 };
        match dtype {
            ComputeDtype::F32 => None,
            ComputeDtype::F16 => Some(Halves { kind: FloatDType::F16, raised }),
            // It ends where f32 does.
            ComputeDtype::Bf16 => Some(Halves { kind: FloatDType::BF16, raised: 1.0 }),
        }
    }
}

/// While it lives, products of linear layers multiply in what it was made with, forward and for the gradient of their input; of
/// several the latest counts.
#[derive(Debug)]
pub struct Computing(u64);

impl Computing {
    /// Begins.
    pub fn begin(dtype: ComputeDtype) -> Self {
        Self(Alive::of_process().begin(dtype))
    }
}

/// From here on gradients come back as those of a token's own loss times `scale`, as one over the tokens of a mean is: so small
/// that halves would lose them, were they not raised.
pub fn scale_gradients(scale: f64) {
    Alive::of_process().scale(scale);
}

impl Drop for Computing {
    fn drop(&mut self) {
        Alive::of_process().end(self.0);
    }
}

/// The halves that products multiply.
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Halves {
    pub kind: FloatDType,
    /// What the left side is multiplied by before, and the product divided by: a power of two.
    pub raised: f32,
}

/// Those that they multiply now, forward or on the way back, if not floats.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) fn halves(back: bool) -> Option<Halves> {
    Alive::of_process().halves(back)
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
        let mut alive = Alive { born: 0, all: Vec::new() };
        let now = |alive: &Alive| alive.halves(false).map(|halves| halves.kind);
        assert_eq!(now(&alive), None);
        let [first, exact, last] = [f16, f32, f16].map(|dtype| alive.begin(dtype));
        assert_eq!(now(&alive), Some(FloatDType::F16));
        alive.end(first);
        assert_eq!(now(&alive), Some(FloatDType::F16));
        alive.end(last);
        assert_eq!(now(&alive), None);
        let other = alive.begin(bf16);
        alive.end(exact);
        assert_eq!(now(&alive), Some(FloatDType::BF16));
        alive.end(other);
        assert_eq!(now(&alive), None);
    }

    #[test]
    fn gradients_of_a_mean_are_raised() {
        let mut alive = Alive { born: 0, all: Vec::new() };
        alive.scale(0.5);
        alive.begin(ComputeDtype::F16);
        let raised = |alive: &Alive| [false, true].map(|back| alive.halves(back).map_or(0.0, |halves| halves.raised));
        assert_eq!(raised(&alive), [1.0, 64.0]);
        for (scale, by) in [(1e-3, 65_536.0), (1.0 / 1024.0, 65_536.0), (3.0, 64.0), (0.0, 2.0_f32.powi(106))] {
            alive.scale(scale);
            assert_eq!(raised(&alive), [1.0, by], "{scale}");
        }
        alive.begin(ComputeDtype::Bf16);
        alive.scale(1e-3);
        assert_eq!(raised(&alive), [1.0, 1.0]);
    }
}
