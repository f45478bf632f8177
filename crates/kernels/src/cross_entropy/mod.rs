//! The output layer and its loss, with their gradient written by hand.
//!
//! Autodiff would keep the logits, their log-softmax and two temporaries of the same size; here a chunk of rows at a
//! time is turned into its gradient and dropped. Only rows whose next token is a label come here at all.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};
use stratune_protocol::loss_rows;
use stratune_runtime::span;

use crate::Compute;
use crate::linear::{LinearOps, Matrix, products, products_dx};
use reference::CrossEntropyOps;

/// A loss and its gradients.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// Sum over the rows of −log p(target): `[1]`.
    pub loss: Tensor<1>,
    /// Gradient with respect to the rows, `[rows, hidden]`, times `scale`.
    pub d_hidden: Option<Tensor<2>>,
    /// Gradient with respect to the head, `[vocabulary, hidden]`, times `scale`, if asked for.
    pub d_head: Option<Tensor<2>>,
}

/// What to compute beside the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsGrad {
    /// The loss alone.
    None,
    /// The gradient with respect to the rows.
    Hidden,
    /// That, and the gradient with respect to the head.
    HiddenAndHead,
}

/// Cross-entropy of `softmax(hidden headᵀ)` against `targets`, summed over the rows.
///
/// With p = softmax(logits): d logits = (p − onehot(target)) · scale, d hidden = d logits · head,
/// d head = d logitsᵀ · hidden. With a soft cap c, logits l are `c tanh(l / c)` instead, and d logits has the factor
/// `1 − tanh²`. Products with the head multiply in what `compute` says.
///
/// # Shapes
/// - `hidden`: `[rows, hidden]`, `head`: `[vocabulary, hidden]` in pieces of rows, `targets`: `[rows]`; `rows` is at
///   least 1
pub fn linear_cross_entropy(
    hidden: Tensor<2>,
    head: &[Matrix],
    cap: Option<f64>,
    targets: Tensor<1, Int>,
    scale: f64,
    needs_grad: NeedsGrad,
    compute: Compute,
) -> CrossEntropy {
    let _span = span("output layer and loss");
    let compute = compute.of_mean(scale);
    let [rows, _] = hidden.dims();
    let at_once = loss_rows(head.iter().map(|piece| piece.dims()[0]).sum());
    let mut loss: Option<Tensor<1>> = None;
    let mut d_hidden = Vec::new();
    let mut d_head: Option<Tensor<2>> = None;
    for start in (0..rows).step_by(at_once) {
        let count = at_once.min(rows - start);
        let hidden = hidden.clone().narrow(0, start, count);
        let targets = targets.clone().narrow(0, start, count);
        let Chunk { losses, d_logits, bent } = chunk(&hidden, head, cap, targets, scale, compute);
        let d_logits = match bent {
            None => d_logits,
            Some(bent) if needs_grad != NeedsGrad::None => d_logits * (bent.clone() * bent).neg().add_scalar(1.0),
            Some(_) => d_logits,
        };
        let chunk_loss = losses.sum();
        loss = Some(loss.map_or(chunk_loss.clone(), |sum| sum + chunk_loss));
        if needs_grad != NeedsGrad::None {
            d_hidden.extend(products_dx(d_logits.clone(), head, compute));
        }
        if needs_grad == NeedsGrad::HiddenAndHead {
            let chunk = Dispatch::linear_dw(d_logits.into_dispatch(), hidden.into_dispatch(), 1.0);
            let chunk = Tensor::from_dispatch(chunk);
            d_head = Some(match d_head {
                Some(sum) => sum + chunk,
                None => chunk,
            });
        }
    }
    CrossEntropy {
        loss: loss.unwrap_or_else(|| Tensor::zeros([1], &hidden.device())),
        d_hidden: (!d_hidden.is_empty()).then(|| Tensor::cat(d_hidden, 0)),
        d_head,
    }
}

/// −log p(target) of each row by itself, `[rows]`: what [`linear_cross_entropy`] sums.
///
/// # Shapes
/// - as there
pub fn linear_cross_entropy_rows(
    hidden: Tensor<2>,
    head: &[Matrix],
    cap: Option<f64>,
    targets: Tensor<1, Int>,
    compute: Compute,
) -> Tensor<1> {
    let [rows, _] = hidden.dims();
    let at_once = loss_rows(head.iter().map(|piece| piece.dims()[0]).sum());
    let of = |start: usize| {
        let count = at_once.min(rows - start);
        let hidden = hidden.clone().narrow(0, start, count);
        chunk(&hidden, head, cap, targets.clone().narrow(0, start, count), 1.0, compute).losses
    };
    Tensor::cat((0..rows).step_by(at_once).map(of).collect(), 0)
}

/// What some rows give at once.
struct Chunk {
    /// −log p(target), `[rows]`.
    losses: Tensor<1>,
    /// `(p − onehot(target)) · scale`, `[rows, vocabulary]`.
    d_logits: Tensor<2>,
    /// `tanh(l / c)`, where there is a cap c.
    bent: Option<Tensor<2>>,
}

fn chunk(
    hidden: &Tensor<2>,
    head: &[Matrix],
    cap: Option<f64>,
    targets: Tensor<1, Int>,
    scale: f64,
    compute: Compute,
) -> Chunk {
    let logits = products(hidden, head, compute);
    let bent = cap.map(|cap| logits.clone().div_scalar(cap).clamp(-10.0, 10.0).tanh());
    let logits = bent.clone().zip(cap).map_or(logits, |(bent, cap)| bent.mul_scalar(cap));
    let (losses, d_logits) = Dispatch::cross_entropy(logits.into_dispatch(), targets.into_dispatch(), scale as f32);
    Chunk { losses: Tensor::from_dispatch(losses), d_logits: Tensor::from_dispatch(d_logits), bent }
}

#[cfg(all(test, feature = "cpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::activation::log_softmax;
    use burn::tensor::{Device, Distribution, TensorData};

    use super::*;

    /// The gradient by hand against autodiff, over more rows than are made at once, of a head as a whole and in pieces.
    #[test]
    fn gradients_agree_with_autodiff() {
        let device = Device::flex();
        device.seed(7);
        let rows = loss_rows(29) + 37;
        let hidden = Tensor::<2>::random([rows, 12], Distribution::Normal(0.0, 1.0), &device);
        let head = Tensor::<2>::random([29, 12], Distribution::Normal(0.0, 1.0), &device);
        let ids: Vec<i32> = (0..rows as i32).map(|i| (i * 7) % 29).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &device);

        let scale = 1.0 / rows as f64;
        for cap in [None, Some(2.0)] {
            let h = hidden.clone().autodiff().require_grad();
            let w = head.clone().autodiff().require_grad();
            let logits = h.clone().matmul(w.clone().transpose());
            let logits = match cap {
                None => logits,
                Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            };
            let log_p = log_softmax(logits, 1);
            let of_rows = log_p.gather(1, targets.clone().autodiff().reshape([rows, 1])).neg();
            let loss = of_rows.clone().sum();
            let grads = loss.clone().mul_scalar(scale).backward();

            let close = |a: Vec<f32>, b: Vec<f32>| {
                // Sums of 29 products in f32 in another order.
                assert!(a.iter().zip(&b).all(|(x, y)| (x - y).abs() < 1e-5), "{:?} {:?}", &a[..4], &b[..4]);
            };
            let values = |t: Tensor<2>| t.into_data().iter::<f32>().collect::<Vec<_>>();
            let theirs = loss.inner().into_scalar::<f32>();
            for pieces in [vec![29], vec![12, 1, 16]] {
                let pieces = Tensor::split_with_sizes(head.clone(), pieces, 0);
                let pieces: Vec<Matrix> = pieces.into_iter().map(Matrix::from).collect();
                let ours = linear_cross_entropy(
                    hidden.clone(),
                    &pieces,
                    cap,
                    targets.clone(),
                    scale,
                    NeedsGrad::HiddenAndHead,
                    Compute::default(),
                );
                assert!((ours.loss.into_scalar::<f32>() - theirs).abs() < 1e-3 * theirs);
                let each = linear_cross_entropy_rows(hidden.clone(), &pieces, cap, targets.clone(), Compute::default());
                close(values(each.unsqueeze_dim(1)), values(of_rows.clone().inner()));
                close(values(ours.d_hidden.unwrap()), values(h.grad(&grads).unwrap()));
                close(values(ours.d_head.unwrap()), values(w.grad(&grads).unwrap()));
            }
        }
    }
}
