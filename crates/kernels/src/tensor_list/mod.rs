//! Tensors that lie side by side in one buffer, so that one dispatch serves all of them.

#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod outputs;
mod reference;

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, ExtensionType,
};
use burn::tensor::Tensor;

#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use launch::{
    common_buffer, copied_to_one_buffer, empty_tensors, empty_tensors_of, in_one_buffer, is_viewable, views,
};
pub(crate) use outputs::{Outputs, untracked};
pub(crate) use reference::TensorListOps;

/// Each begins at a multiple of so many numbers: 256 bytes, where every adapter lets a binding begin.
const STEP: usize = 64;

/// Where tensors of these lengths begin, and how much room they take together.
pub(crate) fn offsets(counts: &[usize]) -> (Vec<usize>, usize) {
    let mut end = 0_usize;
    let place = |count: &usize| {
        let start = end.next_multiple_of(STEP);
        end = start + count;
        start
    };
    (counts.iter().map(place).collect(), end)
}

/// Tensors of one dimension, at least one.
pub(crate) fn join(parts: Vec<Tensor<1>>) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as TensorListOps>::join(parts.into()))
}

/// The tensors of these lengths that [`join`] has put into one.
pub(crate) fn split(joined: Tensor<1>, counts: &[usize]) -> Vec<Tensor<1>> {
    <Dispatch as TensorListOps>::split(joined.into_dispatch(), counts.to_vec()).into()
}

/// Tensors as a backend has them.
#[derive(Clone, Debug)]
pub struct TensorList<B: Backend>(pub Vec<FloatTensor<B>>);

impl From<Vec<Tensor<1>>> for TensorList<Dispatch> {
    fn from(parts: Vec<Tensor<1>>) -> Self {
        Self(parts.into_iter().map(Tensor::into_dispatch).collect())
    }
}

impl From<TensorList<Dispatch>> for Vec<Tensor<1>> {
    fn from(tensor_list: TensorList<Dispatch>) -> Self {
        tensor_list.0.into_iter().map(Tensor::from_dispatch).collect()
    }
}

// The derive of this trait knows no lists.
impl<B: Backend> ExtensionType<B> for TensorList<B> {
    type Target = TensorList<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let wrapped = |part| DispatchTensor { kind: map_kind(BackendTensor::Float(part)), autodiff };
        TensorList(self.0.into_iter().map(wrapped).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Self(target.0.into_iter().map(|part| unwrap_kind(part).float()).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        target.0.iter().fold(DispatchAutodiffContext::default(), |all, tensor| all.merge(tensor.autodiff))
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn each_begins_where_a_binding_may() {
        assert_eq!(offsets(&[]), (vec![], 0));
        assert_eq!(offsets(&[5]), (vec![0], 5));
        assert_eq!(offsets(&[64, 1, 130, 2]), (vec![0, 64, 128, 320], 322));
    }

    #[test]
    fn what_is_joined_comes_apart_again() {
        let device = Device::flex();
        let parts = [vec![1.0_f32; 64], vec![2.0], vec![3.0; 130]];
        let joined = join(parts.iter().map(|v| Tensor::from_floats(&v[..], &device)).collect());
        let mut want = vec![1.0; 64];
        want.push(2.0);
        want.extend([0.0; 63]);
        want.extend([3.0; 130]);
        let numbers = |t: Tensor<1>| t.into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(numbers(joined.clone()), want);
        let apart: Vec<_> = split(joined, &[64, 1, 130]).into_iter().map(numbers).collect();
        assert_eq!(apart, parts);
    }
}
