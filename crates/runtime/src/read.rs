//! Reading tensors back. Nothing in the hot path calls these.

use burn::tensor::{Device, Int, Tensor};
use stratune_protocol::Problem;

/// The values of a tensor in row-major order, as f32.
///
/// # Errors
/// The device is lost, or out of memory.
pub async fn read_f32<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Problem> {
    let data = tensor.inner().into_data_async().await.map_err(|e| Problem::of_device(&format!("{e:?}")))?;
    Ok(data.iter::<f32>().collect())
}

/// The values of a tensor of integers in row-major order.
///
/// # Errors
/// The device is lost, or out of memory.
pub async fn read_i32<const D: usize>(tensor: Tensor<D, Int>) -> Result<Vec<i32>, Problem> {
    let data = tensor.into_data_async().await.map_err(|e| Problem::of_device(&format!("{e:?}")))?;
    Ok(data.iter::<i32>().collect())
}

/// The values of one-element tensors, in one transaction.
///
/// # Errors
/// The device is lost, or out of memory.
pub async fn read_scalars(tensors: Vec<Tensor<1>>) -> Result<Vec<f64>, Problem> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let joined = Tensor::cat(tensors.into_iter().map(|t| t.inner().reshape([1])).collect(), 0);
    Ok(read_f32(joined).await?.into_iter().map(f64::from).collect())
}

/// Synchronizes: waits until a device has done all that it was asked to do. Until then there may be copies on the host
/// of what was sent to it.
///
/// # Errors
/// The device is lost, or out of memory.
pub async fn synchronize(device: &Device) -> Result<(), Problem> {
    // What is read is the last thing that was asked for.
    read_i32(Tensor::<1, Int>::zeros([1], device)).await.map(drop)
}
