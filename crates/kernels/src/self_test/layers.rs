//! Are the layers of a block right on this device, values and gradients?

use burn::tensor::{Device, Tensor, TensorData};

use super::Fault;
use super::host::{check, dot, gradient_of, wave};
use crate::{Matrix, Rotary, WeightFormat, linear, rms_norm, swiglu};

/// Values as `[1, rows, width]`.
fn rows_of(values: &[f32], width: usize, device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len() / width, width]), device)
}

/// The rows of a matrix as columns.
pub fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns).copied()).collect()
}

/// `a bᵀ`, of rows of `depth`.
pub fn product(a: &[f32], b: &[f32], depth: usize) -> Vec<f32> {
    a.chunks(depth).flat_map(|a| b.chunks(depth).map(|b| dot(a, b) as f32)).collect()
}

/// The layer and the gradients of both its operands, with the output itself as the gradient that comes back.
pub async fn linear_is_right(device: &Device, rows: usize, inner: usize, out: usize) -> Result<(), Fault> {
    let name = format!("linear of {rows} × {inner} × {out}");
    let (a, w) = (wave(rows * inner, 0.37), wave(out * inner, 0.73));
    let x = rows_of(&a, inner, device).autodiff().require_grad();
    let weight = Tensor::<2>::from_data(TensorData::new(w.clone(), [out, inner]), device).autodiff().require_grad();
    let y = linear(x.clone(), weight.clone());
    let expected = product(&a, &w, inner);
    check(&name, y.clone().inner(), &expected).await?;

    let mut tape = (y.clone() * y.inner().autodiff()).sum().backward();
    let dx = product(&expected, &transposed(&w, inner), out);
    check(&format!("gradient of {name}"), gradient_of(&x, &mut tape)?, &dx).await?;
    let dw = product(&transposed(&expected, out), &transposed(&a, inner), rows);
    check(&format!("weight's gradient of {name}"), gradient_of(&weight, &mut tape)?.unsqueeze(), &dw).await
}

/// A layer that only its input passes through, its matrix in floats or quantized: values, and the input's gradient.
pub async fn frozen_is_right(
    device: &Device,
    format: Option<WeightFormat>,
    inner: usize,
    out: usize,
) -> Result<(), Fault> {
    let inner = format.map_or(inner, |format| format.whole_blocks(inner));
    let name =
        format!("linear of {inner} × {out} in {}", format.map_or("floats".into(), |format| format!("{format:?}")));
    let (a, mut w, dy) = (wave(9 * inner, 0.37), wave(out * inner, 0.73), wave(9 * out, 0.61));
    let matrix = match format {
        None => Matrix::Floats(Tensor::from_data(TensorData::new(w.clone(), [out, inner]), device)),
        Some(format) => {
            let quantized;
            (quantized, w) = format.made_of(&w, [out, inner], device);
            Matrix::Quantized(quantized)
        }
    };
    let x = rows_of(&a, inner, device).autodiff().require_grad();
    let y = linear(x.clone(), matrix);
    check(&name, y.clone().inner(), &product(&a, &w, inner)).await?;
    let mut tape = (y * rows_of(&dy, out, device)).sum().backward();
    let dx: Vec<f32> = dy.chunks(out).flat_map(|dy| pulled(dy, &w, inner)).collect();
    check(&format!("gradient of {name}"), gradient_of(&x, &mut tape)?, &dx).await
}

/// `dy w`, of one row.
fn pulled(dy: &[f32], w: &[f32], inner: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; inner];
    for (dy, w) in dy.iter().zip(w.chunks(inner)) {
        sums.iter_mut().zip(w).for_each(|(sum, w)| *sum += f64::from(*dy) * f64::from(*w));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// The norm of some rows, and its gradient.
pub async fn norm_is_right(device: &Device, width: usize) -> Result<(), Fault> {
    let name = format!("rms_norm of {width}");
    let (a, w, dy) = (wave(9 * width, 0.37), wave(width, 0.9), wave(9 * width, 0.61));
    let x = rows_of(&a, width, device).autodiff().require_grad();
    let weight = Tensor::from_data(TensorData::new(w.clone(), [width]), device);
    let y = rms_norm(x.clone(), weight, 1e-5);
    let (mut expected, mut dx) = (Vec::new(), Vec::new());
    for (x, dy) in a.chunks(width).zip(dy.chunks(width)) {
        let r = (dot(x, x) / width as f64 + 1e-5).sqrt().recip();
        let dyw: Vec<f32> = dy.iter().zip(&w).map(|(dy, w)| dy * w).collect();
        let pull = r * r * dot(&dyw, x) / width as f64;
        expected.extend(x.iter().zip(&w).map(|(x, w)| (f64::from(*x) * r) as f32 * w));
        dx.extend(x.iter().zip(&dyw).map(|(x, dyw)| (r * (f64::from(*dyw) - f64::from(*x) * pull)) as f32));
    }
    check(&name, y.clone().inner(), &expected).await?;
    let mut tape = (y * rows_of(&dy, width, device)).sum().backward();
    check(&format!("gradient of {name}"), gradient_of(&x, &mut tape)?, &dx).await
}

/// The gated activation of some rows, and both its gradients.
pub async fn gate_is_right(device: &Device, width: usize) -> Result<(), Fault> {
    let name = format!("swiglu of {width}");
    let (g, u, dy) = (wave(9 * width, 0.37), wave(9 * width, 0.9), wave(9 * width, 0.61));
    let gate = rows_of(&g, width, device).autodiff().require_grad();
    let up = rows_of(&u, width, device).autodiff().require_grad();
    let y = swiglu(gate.clone(), up.clone());
    let open = |g: f32| (1.0 + (-g).exp()).recip();
    let each = |f: &dyn Fn(f32, f32, f32) -> f32| -> Vec<f32> {
        g.iter().zip(&u).zip(&dy).map(|((g, u), dy)| f(*g, *u, *dy)).collect()
    };
    check(&name, y.clone().inner(), &each(&|g, u, _| g * open(g) * u)).await?;
    let mut tape = (y * rows_of(&dy, width, device)).sum().backward();
    let d_gate = each(&|g, u, dy| dy * u * open(g) * (1.0 + g * (1.0 - open(g))));
    check(&format!("gate's gradient of {name}"), gradient_of(&gate, &mut tape)?, &d_gate).await?;
    let d_up = each(&|g, _, dy| dy * g * open(g));
    check(&format!("gradient of {name}"), gradient_of(&up, &mut tape)?, &d_up).await
}

/// The last of so many positions, rotated; and rotated back, which is the gradient.
pub async fn rotary_is_right(device: &Device, positions: usize, head_dim: usize) -> Result<(), Fault> {
    const THETA: f64 = 10_000.0;
    let name = format!("rotary at {positions} of {head_dim}");
    let (half, last) = (head_dim / 2, 3.min(positions));
    let (a, dy) = (wave(last * head_dim, 0.37), wave(last * head_dim, 0.61));
    let rotate = |rows: &[f32], way: f64| -> Vec<f32> {
        let row = |(t, row): (usize, &[f32])| {
            let rotated = |i: usize| {
                let angle = (positions - last + t) as f64 * THETA.powf(-2.0 * (i % half) as f64 / head_dim as f64);
                let (sin, cos) = (way * angle).sin_cos();
                let (x, y) = (f64::from(row[i % half]), f64::from(row[half + i % half]));
                if i < half { x * cos - y * sin } else { y * cos + x * sin }
            };
            (0..head_dim).map(|i| rotated(i) as f32).collect::<Vec<_>>()
        };
        rows.chunks(head_dim).enumerate().flat_map(row).collect()
    };
    let cos_sin = Rotary::new(head_dim, positions, THETA, device).cos_sin_after(positions - last, last);
    let x = rows_of(&a, head_dim, device).autodiff().require_grad();
    let head = || x.clone().unsqueeze_dim::<4>(1);
    let [y, ..] = cos_sin.apply_rotary(head(), head(), head());
    let y = y.squeeze_dim::<3>(1);
    check(&name, y.clone().inner(), &rotate(&a, 1.0)).await?;
    let mut tape = (y * rows_of(&dy, head_dim, device)).sum().backward();
    check(&format!("gradient of {name}"), gradient_of(&x, &mut tape)?, &rotate(&dy, -1.0)).await
}
