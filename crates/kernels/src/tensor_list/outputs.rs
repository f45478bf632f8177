//! Operations of several outputs on burn's graph, which knows those of one: each output is a step of its own behind a
//! joint one, and leaves its gradient where the joint one finds it.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata};
use burn::tensor::Shape;

use super::TensorList;

/// The outputs of an operation, as its backward pass knows them.
#[derive(Clone, Debug)]
pub(crate) struct Outputs<B: Backend> {
    shapes: Vec<Shape>,
    /// Of each the gradient, once it is there.
    waiting: Arc<Mutex<Vec<Option<FloatTensor<B>>>>>,
}

impl<B: Backend> Outputs<B> {
    pub fn new(TensorList(outputs): &TensorList<B>) -> Self {
        let waiting = outputs.iter().map(|_| None).collect();
        Self { shapes: outputs.iter().map(TensorMetadata::shape).collect(), waiting: Arc::new(Mutex::new(waiting)) }
    }

    /// The outputs on the graph, behind the joint step, which was finished with the first of them.
    pub fn on_graph<C: CheckpointStrategy>(
        self,
        joint: FloatTensor<Autodiff<B, C>>,
        TensorList(outputs): TensorList<B>,
    ) -> TensorList<Autodiff<B, C>> {
        if outputs.len() == 1 {
            return TensorList(vec![joint]);
        }
        let behind =
            |(i, output): (usize, FloatTensor<B>)| match Output.prepare::<C>([joint.node()]).compute_bound().stateful()
            {
                OpsKind::Tracked(prep) => prep.finish((self.clone(), i), output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            };
        TensorList(outputs.into_iter().enumerate().map(behind).collect())
    }

    /// Their gradients, when the joint step has come by its own: zeros for one that nothing has read.
    pub fn gradients(self, of_joint: FloatTensor<B>) -> Vec<FloatTensor<B>> {
        if self.shapes.len() == 1 {
            return vec![of_joint];
        }
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let zeros = |shape: Shape| B::float_zeros(shape, &of_joint.device(), of_joint.dtype().into());
        waiting.into_iter().zip(self.shapes).map(|(gradient, shape)| gradient.unwrap_or_else(|| zeros(shape))).collect()
    }

    /// Leaves a gradient, and says whether it is the first.
    fn leave(&self, i: usize, gradient: FloatTensor<B>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.iter().all(Option::is_none);
        if let Some(place) = waiting.get_mut(i) {
            *place = Some(gradient);
        }
        first
    }
}

/// Outputs of which nobody wants a gradient.
pub(crate) fn untracked<B: Backend, C: CheckpointStrategy>(
    TensorList(outputs): TensorList<B>,
) -> TensorList<Autodiff<B, C>> {
    TensorList(outputs.into_iter().map(<Autodiff<B, C> as AutodiffBackend>::from_inner).collect())
}

#[derive(Debug)]
struct Output;

impl<B: Backend> Backward<B, 1> for Output {
    type State = (Outputs<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([joint], (outputs, i)) = (ops.parents, ops.state);
        let first = outputs.leave(i, gradient.clone());
        // The joint step must have a gradient, and reads those that wait.
        if let Some(joint) = joint.filter(|_| first) {
            grads.register::<B>(joint.id, gradient);
        }
    }
}

#[cfg(all(test, feature = "cpu"))]
#[allow(clippy::expect_used)]
mod tests {
    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    use burn::backend::ops::FloatTensorOps;

    use super::*;

    type Tracked = Autodiff<Flex, NoCheckpointing>;

    /// `(2 x, 3 x₀)`, with x₀ the first half.
    #[derive(Debug)]
    struct Both;

    impl Backward<Flex, 1> for Both {
        type State = Outputs<Flex>;

        fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
            let joint = grads.consume::<Flex>(&ops.node);
            let [twice, thrice] = ops.state.gradients(joint).try_into().expect("two");
            let zeros = Flex::float_zeros([2].into(), &Default::default(), burn::tensor::FloatDType::F32);
            let thrice = Flex::float_cat(vec![Flex::float_mul_scalar(thrice, 3.0.into()), zeros], 0);
            if let [Some(x)] = ops.parents {
                grads.register::<Flex>(x.id, Flex::float_add(Flex::float_mul_scalar(twice, 2.0.into()), thrice));
            }
        }
    }

    fn both(x: FloatTensor<Tracked>) -> [FloatTensor<Tracked>; 2] {
        let inner = x.clone().into_primitive();
        let half = Flex::float_slice(inner.clone(), &[burn::tensor::Slice::from(0..2)]);
        let outputs =
            TensorList(vec![Flex::float_mul_scalar(inner, 2.0.into()), Flex::float_mul_scalar(half, 3.0.into())]);
        let state = Outputs::new(&outputs);
        let on_graph = match Both.prepare::<NoCheckpointing>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                state.clone().on_graph::<NoCheckpointing>(prep.finish(state, outputs.0[0].clone()), outputs)
            }
            OpsKind::UnTracked(_) => untracked(outputs),
        };
        on_graph.0.try_into().expect("two")
    }

    /// Both outputs read, one of them twice, or one of them alone, beside the other's zeros.
    #[test]
    fn gradients_of_all_outputs_meet() {
        for (of_first, of_second, want) in
            [(true, true, [8.0, 8.0, 2.0, 2.0]), (true, false, [2.0; 4]), (false, true, [6.0, 6.0, 0.0, 0.0])]
        {
            let x = Flex::float_ones([4].into(), &Default::default(), burn::tensor::FloatDType::F32);
            let x = Tracked::float_set_require_grad(<Tracked as AutodiffBackend>::from_inner(x), true);
            let [first, second] = both(x.clone());
            let second = Tracked::float_add(second.clone(), second);
            let loss = match (of_first, of_second) {
                (true, true) => Tracked::float_add(Tracked::float_sum(first), Tracked::float_sum(second)),
                (true, false) => Tracked::float_sum(first),
                _ => Tracked::float_sum(second),
            };
            let gradients = Tracked::backward(loss);
            let got = Tracked::grad(&x, &gradients).expect("a gradient");
            assert_eq!(crate::cpu::floats(&got.to_contiguous()), Some(&want[..]), "{of_first} {of_second}");
        }
    }
}
