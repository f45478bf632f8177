//! What the tests of shaders begin with: an adapter, numbers on it, and a comparison with the reference.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Device, FloatDType, Shape, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::features::TypeUsage;
use cubecl::prelude::Scalar;
use half::{bf16, f16};

use super::noise;
use super::skipped::skipped;
use crate::compute::Half;

/// The device of a graphics adapter, a software one too; says so if there is none. Tests run side by side, and a device
/// can be opened once.
pub fn wgpu() -> Option<Device> {
    static OPENED: std::sync::OnceLock<Result<Device, String>> = std::sync::OnceLock::new();
    let open =
        || stratune_runtime::block_on(stratune_runtime::open_wgpu()).map(|o| o.device).map_err(|p| p.to_string());
    OPENED.get_or_init(open).clone().inspect_err(|problem| skipped(problem)).ok()
}

/// A tensor of noise between ± `most`. Memory of its size is filled with what is no number before, so that a shader that
/// leaves places out is found.
pub fn on_device(shape: impl Into<Shape>, seed: u32, most: f32, device: &Device) -> CubeTensor {
    let shape = shape.into();
    let count = shape.num_elements();
    drop(Tensor::<1>::full([count], f32::NAN, device));
    let values = noise(count, seed).into_iter().map(|v| v * most).collect();
    CubeBackend::float_reshape(of_values(values, device), shape)
}

/// A tensor of these numbers.
pub fn of_values(values: Vec<f32>, device: &Device) -> CubeTensor {
    let count = values.len();
    let tensor = Tensor::<1>::from_data(TensorData::new(values, [count]), device);
    tensor.try_into_primitive::<CubeBackend>().unwrap()
}

/// The kinds of float that kernels take and the device has, and how far a number is moved by rounding to one, as a share of
/// it.
pub fn kinds(device: &Device) -> Vec<(FloatDType, f32)> {
    let client = of_values(vec![0.0], device).client;
    let mut kinds = vec![(FloatDType::F32, 0.0)];
    let half = [
        (f16::supported_uses(&client), FloatDType::F16, 2.0_f32.powi(-11)),
        (bf16::supported_uses(&client), FloatDType::BF16, 2.0_f32.powi(-8)),
    ];
    for (uses, dtype, moved) in half {
        match uses.contains(TypeUsage::Buffer) && uses.contains(TypeUsage::Conversion) {
            true => kinds.push((dtype, moved)),
            false => skipped(format!("the adapter has no {dtype:?}")),
        }
    }
    kinds
}

/// What tiles of this device may have: f32, and f16.
pub fn tiles(device: &Device) -> Vec<Option<Half>> {
    let of = |(dtype, _)| match dtype {
        FloatDType::F32 => Some(None),
        FloatDType::F16 => Some(Some(Half { dtype: FloatDType::F16, loss_scale: 64.0 })),
        _ => None,
    };
    kinds(device).into_iter().filter_map(of).collect()
}

/// Its numbers as those of this kind.
pub fn of_kind(tensor: CubeTensor, dtype: FloatDType) -> CubeTensor {
    CubeBackend::float_cast(tensor, dtype)
}

/// Its numbers.
pub fn numbers(tensor: CubeTensor) -> Vec<f32> {
    let count = burn::backend::TensorMetadata::shape(&tensor).num_elements();
    let flat = CubeBackend::float_reshape(tensor, Shape::from([count]));
    Tensor::<1>::from_primitive::<CubeBackend>(flat).into_data().iter::<f32>().collect()
}

/// Panics if two tensors differ by more than `allowed` of their largest number, or of `among` if that is larger: where
/// numbers of that size are added up and may cancel.
pub fn assert_close(got: CubeTensor, want: CubeTensor, allowed: f32, among: f32, what: &str) {
    let (got, want) = (numbers(got), numbers(want));
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(among, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= allowed * largest, "{what}, {i}: {g} for {w}, of {largest}");
    }
}
