//! Sums of squares by `shaders/squares.wgsl`: one dispatch a tensor.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;

use super::reference::{self, PARTS, SquaresOps};
use crate::shader::{Bound, Shader, suit};

impl SquaresOps for CubeBackend {
    fn put_squares(sums: FloatTensor<Self>, x: FloatTensor<Self>, i: usize) -> FloatTensor<Self> {
        if !suit([&sums, &x]) || !sums.handle.can_mut() {
            return reference::put_squares::<Self>(sums, x, i);
        }
        let x = into_contiguous(x);
        let numbers = [x.shape().num_elements() as u32, (i * PARTS) as u32];
        Shader::new("squares", include_str!("../../../../shaders/squares.wgsl")).launch(
            &[Bound::In(&x), Bound::InOut(&sums)],
            &numbers,
            [PARTS as u32, 1, 1],
        );
        sums
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use crate::global_norm;
    use crate::testing::{noise, wgpu};
    use burn::tensor::Tensor;

    #[test]
    fn the_norm_is_that_of_the_host() {
        let Some(device) = wgpu() else { return };
        let all: Vec<Vec<f32>> = [1, 63, 64, 5000, 70_001].iter().map(|n| noise(*n, *n as u32)).collect();
        let tensors: Vec<Tensor<1>> = all.iter().map(|v| Tensor::from_floats(&v[..], &device)).collect();
        let want = all.iter().flatten().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let got = f64::from(global_norm(tensors.iter(), &device).into_scalar::<f32>());
        // Sums of a thousand squares in f32.
        assert!((got / want - 1.0).abs() < 1e-5, "{got} {want}");
    }
}
