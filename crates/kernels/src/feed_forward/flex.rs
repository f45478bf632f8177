//! The feed-forward layer on the CPU: what comes back through the activation takes the place of what went through it.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use stratune_runtime::span;

use super::reference::{self, FeedForwardOps};
use crate::cpu::{each, exp, floats, floats_mut, widest};
use crate::linear::{Group, LinearOps};
use crate::tensor_list::TensorList;

/// Numbers that a part has.
const PART: usize = 1 << 14;

impl FeedForwardOps for Flex {
    fn gated_back(
        dy: FloatTensor<Self>,
        outer: Group<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
    ) -> TensorList<Self> {
        let TensorList(mut made) = Self::grouped_dx(TensorList(vec![dy]), outer);
        let _span = span("gated activation, backward");
        let dt = made.split_off(1);
        let [mut gate, mut up, mut value] = [gate, up, made.swap_remove(0)].map(|t| t.to_contiguous());
        if [&gate, &up, &value].iter().any(|t| floats(t).is_none()) {
            return TensorList([reference::activation_back::<Self>(gate, up, value), dt].concat());
        }
        if let (Some(gate), Some(up), Some(value)) =
            (floats_mut(&mut gate), floats_mut(&mut up), floats_mut(&mut value))
        {
            let parts = gate.chunks_mut(PART).zip(up.chunks_mut(PART)).zip(value.chunks_mut(PART)).collect();
            each(parts, |((gate, up), value)| {
                widest(
                    #[inline(always)]
                    || part_back(gate, up, value),
                )
            });
        }
        TensorList([vec![gate, up, value], dt].concat())
    }
}

/// The gradients of gate and up in their places, and the values in that of theirs.
#[inline(always)]
fn part_back(gate: &mut [f32], up: &mut [f32], value: &mut [f32]) {
    for ((gate, up), value) in gate.iter_mut().zip(up).zip(value) {
        let open = 1.0 / (1.0 + exp(-*gate));
        let (opened, back) = (*gate * open, *value);
        *value = opened * *up;
        *gate = back * *up * open * (1.0 + *gate * (1.0 - open));
        *up = back * opened;
    }
}
