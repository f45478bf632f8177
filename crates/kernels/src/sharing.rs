//! How many invocations share a row, or a sum; what each has they add up by `shaders/lanes.wgsl`.

use burn_cubecl::tensor::CubeTensor;

use crate::shader::{INVOCATIONS, Shader, grid, is_software};

/// Invocations that share a row of `items` where `tensor` is: a power of two, and at most a workgroup.
pub fn lanes(tensor: &CubeTensor, items: u32) -> u32 {
    if is_software(tensor) { lanes_of_software(items) } else { lanes_of_gpu(items) }
}

/// So many workgroups take all rows.
pub fn grid_of_rows(rows: u32, lanes: u32) -> [u32; 3] {
    grid(rows.div_ceil(INVOCATIONS / lanes))
}

/// The numbers of invocations by which any adapter may share rows of `items`: those of software adapters and of GPUs.
#[cfg(all(test, feature = "wgpu"))]
pub fn ways(items: u32) -> [u32; 2] {
    [lanes_of_software(items), lanes_of_gpu(items)]
}

impl Shader {
    /// With `sum_of_lanes` and `max_of_lanes`.
    pub fn shared_by(self, lanes: u32) -> Self {
        self.and(include_str!("../../../shaders/lanes.wgsl")).with("lanes", lanes)
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
