//! Where a backward pass begins that does not begin at a loss.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::{Gradients as Tape, Tensor};

/// A number whose gradient with respect to `y` is given.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait SeedOps: Backend {
    /// `[0]`: where there is no number, none has to become 1 when the backward pass begins.
    fn backward_seed(y: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let (device, dtype) = (burn::backend::TensorMetadata::device(&y), burn::backend::TensorMetadata::dtype(&dy));
        Self::float_empty([0].into(), &device, dtype.into())
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl SeedOps for burn_cubecl::CubeBackend {}

#[cfg(feature = "cpu")]
impl SeedOps for burn::backend::Flex {}

#[derive(Debug)]
struct Seed;

impl<B: SeedOps> Backward<B, 1> for Seed {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        grads.consume::<B>(&ops.node);
        if let [Some(y)] = ops.parents {
            grads.register::<B>(y.id, ops.state);
        }
    }
}

impl<B: SeedOps, C: CheckpointStrategy> SeedOps for Autodiff<B, C> {
    fn backward_seed(y: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let dy = dy.into_primitive();
        match Seed.prepare::<C>([y.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(dy.clone(), B::backward_seed(y.into_primitive(), dy)),
            OpsKind::UnTracked(prep) => prep.finish(B::backward_seed(y.into_primitive(), dy)),
        }
    }
}

/// The gradients of what `y` was made of, where the gradient with respect to `y` is `dy`: what
/// `(y · dy).sum().backward()` gives, without computing it.
pub fn backward_from(y: Tensor<3>, dy: Tensor<3>) -> Tape {
    Tensor::<1>::from_dispatch(Dispatch::backward_seed(y.into_dispatch(), dy.into_dispatch())).backward()
}

#[cfg(all(test, feature = "cpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn gradients_are_those_of_the_product() {
        let device = Device::flex();
        let dy = Tensor::<3>::from_floats([[[5.0, 7.0, -1.0]]], &device);
        let gradient = |backward: fn(Tensor<3>, Tensor<3>) -> Tape| {
            let x = Tensor::<3>::from_floats([[[1.0, -2.0, 3.0]]], &device).autodiff().require_grad();
            let tape = backward(x.clone() * x.clone(), dy.clone());
            x.grad(&tape).unwrap().into_data()
        };
        assert_eq!(gradient(backward_from), gradient(|y, dy| (y * dy.autodiff()).sum().backward()));
    }
}
