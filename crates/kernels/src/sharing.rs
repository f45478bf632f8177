//! How many invocations share a row, and how they come by its sum: by `shaders/lanes.wgsl` or `lanes_subgroups.wgsl`.

use std::sync::atomic::{AtomicBool, Ordering};

use burn_cubecl::cubecl::ir::features::Plane;
use burn_cubecl::tensor::CubeTensor;

use crate::shader::{INVOCATIONS, Shader, grid, is_software};

/// Whether an adapter's subgroups have turned out not to be neighbours.
static WITHOUT_SUBGROUPS: AtomicBool = AtomicBool::new(false);

/// From here on no shader uses subgroups.
pub fn do_without_subgroups() {
    WITHOUT_SUBGROUPS.store(true, Ordering::Relaxed);
}

/// Invocations that share a row, a power of two and at most a workgroup, and whether they add up by subgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    pub lanes: u32,
    pub subgroups: bool,
}

impl Sharing {
    /// Of rows of `items` where `tensor` is.
    pub fn of(tensor: &CubeTensor, items: u32) -> Self {
        let of = if is_software(tensor) { lanes_of_software } else { lanes_of_gpu };
        Self::by(tensor, of(items))
    }

    /// By so many invocations. Subgroups are taken where there are any, and a whole workgroup shares a row. In a browser there are
    /// none: wgpu 30.0.1 does not ask it for them (`FEATURES_MAPPING` of its `backend/webgpu.rs`). Once it does, the text must
    /// begin with `enable subgroups;` there, which wgpu's own compiler refuses.
    pub fn by(tensor: &CubeTensor, lanes: u32) -> Self {
        let has = || tensor.client.properties().features.plane.contains(Plane::Ops);
        let tried = !is_software(tensor) && !WITHOUT_SUBGROUPS.load(Ordering::Relaxed);
        let subgroups = lanes == INVOCATIONS && tried && has();
        Self { lanes, subgroups }
    }

    /// So many workgroups take all rows.
    pub fn grid(self, rows: u32) -> [u32; 3] {
        grid(rows.div_ceil(INVOCATIONS / self.lanes))
    }

    /// The ways in which any adapter may share rows of `items`: those of software adapters and of GPUs, with subgroups too if
    /// there are any.
    #[cfg(all(test, feature = "wgpu"))]
    pub fn ways(items: u32, subgroups: bool) -> Vec<Self> {
        let plain = [lanes_of_software(items), lanes_of_gpu(items)].map(|lanes| Self { lanes, subgroups: false });
        let with = Self { subgroups, ..plain[1] };
        plain.into_iter().chain([with].into_iter().filter(|way| way.subgroups && way.lanes == INVOCATIONS)).collect()
    }
}

impl Shader {
    /// With `sum_of_lanes` and `most_of_lanes`.
    pub fn shared_by(self, Sharing { lanes, subgroups }: Sharing) -> Self {
        self.and(match subgroups {
            true => include_str!("../../../shaders/lanes_subgroups.wgsl"),
            false => include_str!("../../../shaders/lanes.wgsl"),
        })
        .with("lanes", lanes)
        .with("subgroups", subgroups)
    }
}

/// The fewest that cover the row at once.
fn lanes_of_gpu(items: u32) -> u32 {
    items.clamp(1, INVOCATIONS).next_power_of_two()
}

/// One, which waits for no other, unless the row is so long that going through it twice would come near the 65,535 turns
/// after which llvmpipe ends the loops of an invocation.
fn lanes_of_software(items: u32) -> u32 {
    items.div_ceil(1 << 14).clamp(1, INVOCATIONS).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_cover_a_row_or_are_a_workgroup() {
        assert_eq!([0, 1, 2, 16, 17, 64, 65, u32::MAX].map(lanes_of_gpu), [1, 1, 2, 16, 32, 64, 64, 64]);
        assert_eq!([0, 512, 16_384, 16_385, 152_000, u32::MAX].map(lanes_of_software), [1, 1, 1, 2, 16, 64]);
    }
}
