//! What products multiply in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;
use stratune_protocol::ComputeDtype;

/// Halves lose what is below 2⁻¹⁴, and end at 2¹⁶. A token's own gradient times this lies between.
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
    tokens: usize,
}

impl Alive {
    fn of_process() -> MutexGuard<'static, Self> {
        NOW.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&mut self, dtype: ComputeDtype) -> u64 {
        self.born += 1;
        self.all.push(One { id: self.born, dtype, tokens: 1 });
        self.born
    }

    fn end(&mut self, id: u64) {
        self.all.retain(|one| one.id != id);
    }

    fn is_of_mean_over(&mut self, tokens: usize, id: u64) {
        self.all.iter_mut().filter(|one| one.id == id).for_each(|one| one.tokens = tokens);
    }

    #[cfg(any(feature = "wgpu", feature = "cuda", test))]
    fn halves(&self, back: bool) -> Option<Halves> {
        let One { dtype, tokens, .. } = self.all.last().filter(|one| one.dtype != ComputeDtype::F32)?;
        // The other kind ends where f32 does.
        let raised = back && *dtype == ComputeDtype::F16;
        Some(Halves { dtype: *dtype, raised: if raised { MIDDLE * tokens.next_power_of_two() as f32 } else { 1.0 } })
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

    /// From here on gradients are those of a mean over so many tokens, or of some of its terms: so small, that halves would lose
    /// them.
    pub fn is_of_mean_over(&self, tokens: usize) {
        Alive::of_process().is_of_mean_over(tokens, self.0);
    }
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
    pub dtype: ComputeDtype,
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
        let now = |alive: &Alive| alive.halves(false).map(|halves| halves.dtype);
        assert_eq!(now(&alive), None);
        let [first, exact, last] = [f16, f32, f16].map(|dtype| alive.begin(dtype));
        assert_eq!(now(&alive), Some(f16));
        alive.end(first);
        assert_eq!(now(&alive), Some(f16));
        alive.end(last);
        assert_eq!(now(&alive), None);
        let other = alive.begin(bf16);
        alive.end(exact);
        assert_eq!(now(&alive), Some(bf16));
        alive.end(other);
        assert_eq!(now(&alive), None);
    }

    #[test]
    fn gradients_of_a_mean_are_raised() {
        let mut alive = Alive { born: 0, all: Vec::new() };
        let id = alive.begin(ComputeDtype::F16);
        let raised = |alive: &Alive| [false, true].map(|back| alive.halves(back).map_or(0.0, |halves| halves.raised));
        assert_eq!(raised(&alive), [1.0, 64.0]);
        alive.is_of_mean_over(1000, id);
        assert_eq!(raised(&alive), [1.0, 65_536.0]);
        let other = alive.begin(ComputeDtype::Bf16);
        alive.is_of_mean_over(1000, other);
        assert_eq!(raised(&alive), [1.0, 1.0]);
    }
}
