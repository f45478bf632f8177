//! Are products right in whatever else than f32 the device multiplies in?

use burn::tensor::{Device, Tensor, TensorData};
use stratune_protocol::ComputeDtype;

use super::Fault;
use super::host::{check, dot, slope_of, wave};
use crate::{Computing, Matrix, Packed, PackedDtype, compute_dtypes, linear};

/// Rows, inputs and outputs: beyond a tile, and beyond what is so narrow that it stays exact.
const SIDES: [usize; 3] = [131, 72, 68];

/// A layer's output and the gradient of its input, its matrix in floats and packed. All numbers are eighths, so that halves
/// hold them and the sums of a tile to the last bit.
pub async fn halves_multiply(device: &Device) -> Result<(), Fault> {
    for dtype in compute_dtypes(device).into_iter().filter(|dtype| *dtype != ComputeDtype::F32) {
        let _computing = Computing::begin(dtype);
        let [rows, inner, out] = SIDES;
        let eighths = |len: usize, step: f32| -> Vec<f32> {
            wave(len, step).into_iter().map(|v| (8.0 * v).round() / 8.0).collect()
        };
        let (a, w, dy) = (eighths(rows * inner, 0.37), eighths(out * inner, 0.73), eighths(rows * out, 0.61));
        let turned = |matrix: &[f32], columns: usize| -> Vec<f32> {
            (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns).copied()).collect()
        };
        let product = |a: &[f32], b: &[f32], depth: usize| -> Vec<f32> {
            a.chunks(depth).flat_map(|a| b.chunks(depth).map(|b| dot(a, b) as f32)).collect()
        };
        let on_device = |values: &[f32], width: usize| {
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, rows, width]), device)
        };
        let floats = Tensor::<2>::from_data(TensorData::new(w.clone(), [out, inner]), device);
        let packed = Packed::new(&w, [out, inner], PackedDtype::F16, device);
        for (kept, matrix) in [("floats", Matrix::Floats(floats)), ("halves", Matrix::Packed(packed))] {
            let name = format!("linear by {kept}, in {dtype}");
            let x = on_device(&a, inner).autodiff().require_grad();
            let y = linear(x.clone(), matrix);
            check(&name, y.clone().inner(), &product(&a, &w, inner)).await?;
            // Of a mean over so many rows that halves would lose it, were it not raised.
            let small = 1.0 / 1024.0;
            let mut tape = (y * on_device(&dy, out).mul_scalar(small).autodiff()).sum().backward();
            let dx = slope_of(&x, &mut tape)?.mul_scalar(1.0 / small);
            check(&format!("gradient of {name}"), dx, &product(&dy, &turned(&w, inner), out)).await?;
        }
    }
    Ok(())
}
