//! The norm of many tensors together, without reading anything back: one pass over each, and one over the sums.

#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};

use reference::{PARTS, SquaresOps};

/// `√Σ x²` over all numbers of all tensors: `[1]`.
pub fn global_norm<'a>(tensors: impl ExactSizeIterator<Item = &'a Tensor<1>>, device: &Device) -> Tensor<1> {
    let sums = Tensor::<1>::zeros([PARTS * tensors.len().max(1)], device).into_dispatch();
    let sums = tensors
        .enumerate()
        .fold(sums, |sums, (i, tensor)| <Dispatch as SquaresOps>::put_squares(sums, tensor.clone().into_dispatch(), i));
    Tensor::<1>::from_dispatch(sums).sum().sqrt()
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    #[test]
    fn the_norm_of_all_is_one_number() {
        let device = Device::flex();
        let tensors =
            [vec![3.0_f32], vec![0.0; 70], vec![4.0, 12.0]].map(|v| Tensor::<1>::from_floats(&v[..], &device));
        let norm = |of: &[Tensor<1>]| global_norm(of.iter(), &device).into_scalar::<f32>();
        assert_eq!(norm(&tensors), 13.0);
        assert_eq!(norm(&[]), 0.0);
    }
}
