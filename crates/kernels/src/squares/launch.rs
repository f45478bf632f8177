//! Sums of squares by `shaders/squares.wgsl`: one dispatch a tensor.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, PARTS, SquaresOps};
use crate::shader::{Bound, INVOCATIONS, Shader, is_software, suit};

/// Numbers that one workgroup of a software adapter adds up before 64 of them have met at their barriers.
const FEW: usize = 1 << 16;

/// The invocations that share a sum, and thereby the workgroups.
fn lanes(x: &CubeTensor) -> u32 {
    if is_software(x) && x.shape().num_elements() <= FEW { 1 } else { INVOCATIONS }
}

fn put(sums: &CubeTensor, x: CubeTensor, i: usize, lanes: u32) {
    let x = into_contiguous(x);
    Shader::new("squares", include_str!("../../../../shaders/squares.wgsl")).with("lanes", lanes).launch(
        &[Bound::In(&x), Bound::InOut(sums)],
        &[x.shape().num_elements() as u32, (i * PARTS) as u32],
        [lanes, 1, 1],
    );
}

impl SquaresOps for CubeBackend {
    fn put_squares(sums: FloatTensor<Self>, x: FloatTensor<Self>, i: usize) -> FloatTensor<Self> {
        if !suit([&sums, &x]) || !sums.handle.can_mut() {
            return reference::put_squares::<Self>(sums, x, i);
        }
        let lanes = lanes(&x);
        put(&sums, x, i, lanes);
        sums
    }
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::global_norm;
    use crate::testing::{noise, numbers, of_values, wgpu};

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

    /// In the form for each kind of adapter, beside the places of others, which stay.
    #[test]
    fn every_form_makes_sums_in_its_places() {
        let Some(device) = wgpu() else { return };
        for (count, lanes) in [1, 63, 64, 65, 5000, 70_001].into_iter().flat_map(|n| [(n, 1), (n, INVOCATIONS)]) {
            let values = noise(count, 7);
            let want: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
            let sums = of_values(vec![f32::NAN; 3 * PARTS], &device);
            put(&sums, of_values(values, &device), 1, lanes);
            let sums = numbers(sums);
            let (before, rest) = sums.split_at(PARTS);
            let (own, behind) = rest.split_at(PARTS);
            let got: f64 = own.iter().map(|v| f64::from(*v)).sum();
            // Sums of a thousand squares in f32.
            assert!((got / want - 1.0).abs() < 1e-5, "{count} by {lanes}: {got} {want}");
            assert!(before.iter().chain(behind).all(|v| v.is_nan()), "{count} by {lanes}");
        }
    }
}
