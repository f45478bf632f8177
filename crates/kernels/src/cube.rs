//! What the kernels of `src/<op>/cube.rs` share. They are written in CubeCL, which compiles them for each of
//! its devices, and are taken where a shader of `shaders/` cannot be: on CUDA, on wgpu devices that compile another
//! language than WGSL, and for lengths that a shader does not take. Numbers are f32, or f16, or bf16; what is
//! computed of them is computed in f32.

use burn::backend::{DType, TensorMetadata};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::ir::ElemType;
use cubecl::prelude::*;
use half::{bf16, f16};

use crate::shader::{countable, grid};

/// Most units of a cube: beyond that they wait for each other longer than they would read.
const MAX: u32 = 1024;

/// Numbers of a row that a unit reads one after the other, if there are as many.
const EACH: usize = 4;

/// The kind of float that all of these are made of, if the kernels can work on them: as many numbers as 32 bits count.
pub fn floats<const N: usize>(tensors: [&CubeTensor; N]) -> Option<ElemType> {
    let dtype = tensors[0].dtype;
    let kind = match dtype {
        DType::F32 => f32::elem_type_native(),
        DType::F16 => f16::elem_type_native(),
        DType::BF16 => bf16::elem_type_native(),
        _ => return None,
    };
    tensors.iter().all(|t| t.dtype == dtype && countable(t)).then_some(kind)
}

/// Room for as many numbers of the same kind.
pub fn empty(like: &CubeTensor) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), like.shape(), like.dtype)
}

/// How many numbers a unit takes at once where all of these are multiples of it.
pub fn at_once<const N: usize>(lengths: [usize; N]) -> usize {
    [4, 2].into_iter().find(|numbers| lengths.iter().all(|length| length.is_multiple_of(*numbers))).unwrap_or(1)
}

/// A unit for each of so many items.
pub fn units_for(items: usize, like: &CubeTensor) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&like.client, items);
    (calculate_cube_count_elemwise(&like.client, items, dim), dim)
}

/// A cube for each of so many rows.
pub fn cube_for_each(rows: usize) -> CubeCount {
    let [x, y, z] = grid(rows as u32);
    CubeCount::Static(x, y, z)
}

/// How many units share a row of so many items: a power of two.
pub fn sharing(items: usize, like: &CubeTensor) -> u32 {
    let most = like.client.properties().hardware.max_units_per_cube.min(MAX);
    let units = u32::try_from(items.div_ceil(EACH)).unwrap_or(most);
    1 << units.clamp(32.min(most), most).ilog2()
}

/// The sum of what each of a cube's `units` has, for all of them. All must come here.
#[cube]
pub fn sum_of_cube(own: f32, #[comptime] units: usize) -> f32 {
    let mut parts = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    parts[unit] = own;
    sync_cube();
    let mut reach = CUBE_DIM as usize / 2;
    while reach > 0 {
        if unit < reach {
            let other = parts[unit + reach];
            parts[unit] += other;
        }
        sync_cube();
        reach /= 2;
    }
    parts[0]
}

/// The largest of what each of a cube's `units` has, for all of them. All must come here.
#[cube]
pub fn max_of_cube(own: f32, #[comptime] units: usize) -> f32 {
    let mut parts = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    parts[unit] = own;
    sync_cube();
    let mut reach = CUBE_DIM as usize / 2;
    while reach > 0 {
        if unit < reach {
            let other = parts[unit + reach];
            parts[unit] = max(parts[unit], other);
        }
        sync_cube();
        reach /= 2;
    }
    parts[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_at_once_where_all_lengths_allow() {
        assert_eq!([at_once([8, 4]), at_once([8, 6]), at_once([8, 3]), at_once([1])], [4, 2, 1, 1]);
    }
}
