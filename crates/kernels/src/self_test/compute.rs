//! Are products right in what else than f32 a run multiplies in?

use burn::tensor::{Device, Tensor, TensorData};
use stratune_protocol::ComputeDtype;

use super::Fault;
use super::host::{check, gradient_of, wave};
use super::layers::{product, transposed};
use crate::{Compute, Matrix, Quantized, QuantizedDtype, linear_by_pieces};

/// Rows, inputs and outputs: beyond a tile, and beyond what is so narrow that it stays exact.
const SIDES: [usize; 3] = [131, 72, 68];
const TOKENS: usize = 1 << 20;

/// A layer's output and the gradient of its input, its matrix in floats and quantized. All numbers are eighths, so that
/// f16 holds them and the sums of a tile to the last bit.
pub async fn half_precision_multiplies(device: &Device, dtype: ComputeDtype) -> Result<(), Fault> {
    // Of a mean over so many tokens that f16 would lose it without a loss scale.
    let compute = Compute::new(dtype).of_mean(1.0 / TOKENS as f64);
    let [rows, inner, out] = SIDES;
    let eighths =
        |len: usize, step: f32| -> Vec<f32> { wave(len, step).into_iter().map(|v| (8.0 * v).round() / 8.0).collect() };
    let (a, w, dy) = (eighths(rows * inner, 0.37), eighths(out * inner, 0.73), eighths(rows * out, 0.61));
    let on_device = |values: &[f32], width: usize| {
        Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, rows, width]), device)
    };
    let floats = Tensor::<2>::from_data(TensorData::new(w.clone(), [out, inner]), device);
    let quantized = Quantized::new(&w, [out, inner], QuantizedDtype::F16, device);
    for (kept, matrix) in [("floats", Matrix::Floats(floats)), ("f16", Matrix::Quantized(quantized))] {
        let name = format!("linear by {kept}, in {dtype}");
        let x = on_device(&a, inner).autodiff().require_grad();
        let y = linear_by_pieces(x.clone(), &[matrix], compute);
        check(&name, y.clone().inner(), &product(&a, &w, inner)).await?;
        let dy_of_mean = on_device(&dy, out).div_scalar(TOKENS as f32);
        let mut tape = (y * dy_of_mean.autodiff()).sum().backward();
        let dx = gradient_of(&x, &mut tape)?.mul_scalar(TOKENS as f32);
        check(&format!("gradient of {name}"), dx, &product(&dy, &transposed(&w, inner), out)).await?;
    }
    Ok(())
}
