//! Normalisation by mean and variance (Ba, Kiros and Hinton 2016, eq. 4).

mod backward;
#[cfg(feature = "cpu")]
mod flex;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use stratune_runtime::span;

use reference::LayerNormOps;

/// `(x − mean) / sqrt(variance + eps) · weight + bias`, over the last dimension; the variance is the mean square of what is left
/// when the mean is taken off.
///
/// # Shapes
/// - `x`: `[batch, seq, hidden]`, `weight`, `bias`: `[hidden]`
/// - output: `[batch, seq, hidden]`
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let _span = span("norm, forward");
    let [weight, bias] = [weight, bias].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as LayerNormOps>::layer_norm_forward(x.into_dispatch(), weight, bias, eps))
}

#[cfg(all(test, feature = "cpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::testing::{near, tensor, values_of};

    #[test]
    fn a_row_has_no_mean_and_unit_variance() {
        let device = Device::flex();
        let x = Tensor::<3>::from_floats([[[1.0, 3.0, 5.0, 7.0], [1e4, 1e4 + 1.0, 1e4 + 2.0, 1e4 + 3.0]]], &device);
        let weight = Tensor::<1>::from_floats([1.0, 2.0, 1.0, 1.0], &device);
        let bias = Tensor::<1>::from_floats([0.0, 0.0, 0.5, 0.0], &device);
        let y = values_of(layer_norm(x, weight, bias, 0.0));
        let (a, b) = (3.0 / 5.0_f32.sqrt(), 1.0 / 5.0_f32.sqrt());
        near(&y, &[[-a, -2.0 * b, b + 0.5, a]; 2].concat(), "two rows");
    }

    /// The gradients of what is tracked, against those that autodiff makes of the definition, of rows that fill parts and of a rest.
    #[test]
    fn gradients_are_those_of_its_definition() {
        let device = Device::flex();
        for (shape, tracked) in [([1, 1, 4], 7), ([2, 37, 48], 7), ([2, 3, 20], 1), ([2, 3, 20], 6), ([2, 3, 20], 2)] {
            let passed = |made: fn(Tensor<3>, Tensor<1>, Tensor<1>) -> Tensor<3>| {
                let is = |i: u32| tracked >> i & 1 == 1;
                let x: Tensor<3> = tensor(shape, 1, &device);
                let [weight, bias]: [Tensor<1>; 2] = [2, 3].map(|seed| tensor([shape[2]], seed, &device));
                let x = if is(0) { x.autodiff().require_grad() } else { x };
                let weight = if is(1) { weight.autodiff().require_grad() } else { weight };
                let bias = if is(2) { bias.autodiff().require_grad() } else { bias };
                let y = made(x.clone(), weight.clone(), bias.clone());
                let tape = (y.clone() * tensor(shape, 4, &device)).sum().backward();
                let mut all = vec![values_of(y)];
                all.extend(x.grad(&tape).map(values_of));
                all.extend([weight, bias].into_iter().filter_map(|t| t.grad(&tape)).map(values_of));
                all
            };
            let got = passed(|x, weight, bias| layer_norm(x, weight, bias, 1e-5));
            let want = passed(|x, weight, bias| {
                let centred = x.clone() - x.mean_dim(2);
                let variance = (centred.clone() * centred.clone()).mean_dim(2);
                centred / (variance + 1e-5).sqrt() * weight.unsqueeze() + bias.unsqueeze()
            });
            assert_eq!((got.len(), got.len() - 1), (want.len(), u32::count_ones(tracked) as usize), "{shape:?}");
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                near(got, want, &format!("{i} of {shape:?}, {tracked:03b}"));
            }
        }
        let row = Tensor::<3>::from_data(TensorData::new(vec![2.0_f32; 8], [1, 1, 8]), &device);
        let one = Tensor::<1>::ones([8], &device);
        // A row of one number has no variance.
        assert_eq!(values_of(layer_norm(row, one.clone(), one, 1e-12)), [1.0; 8]);
    }
}
