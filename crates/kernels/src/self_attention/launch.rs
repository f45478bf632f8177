//! Attention over one input on graphics adapters: on a GPU queries and keys are rotated where they are made, and their
//! gradients are rotated back where those are, by `shaders/attention_back.wgsl`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use stratune_runtime::span;

use super::Heads;
use super::reference::{self, SelfAttentionOps, heads, rows};
use crate::attention::launch::attention_rotary_backward_on_gpu;
use crate::linear::epilogue::{Epilogue, Rotary};
use crate::linear::products::{Made, Products};
use crate::linear::{Group, products_of};
use crate::tensor_list::TensorList;

impl SelfAttentionOps for CubeBackend {
    fn heads_with_rotary(
        x: FloatTensor<Self>,
        group: Group<Self>,
        weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        of_heads: Heads,
    ) -> TensorList<Self> {
        // A tile holds no whole head, so norms and what follows them are made after it.
        if of_heads.norm.is_some() || !of_heads.rotates {
            return reference::heads_with_rotary::<Self>(x, group, weights, cosines, sines, of_heads);
        }
        let [of_cosines, of_sines] = [&cosines, &sines].map(|table| into_contiguous(table.clone()));
        let rotary = Rotary { cosines: of_cosines, sines: of_sines, products: 2 };
        let products =
            Products { epilogue: Epilogue::Rotary(Box::new(rotary)), ..products_of(&rows::<Self>(x.clone()), &group) };
        let made = {
            let _span = span("linear, forward");
            products.fused()
        };
        let Some(Made { outputs, low }) = made else {
            return reference::heads_with_rotary::<Self>(x, group, weights, cosines, sines, of_heads);
        };
        let sides = [0, 1].map(|side| x.shape()[side]);
        let rotated = outputs.into_iter().map(|rows| heads::<Self>(rows, sides, of_heads.width));
        TensorList(rotated.chain(low).collect())
    }

    fn heads_with_rotary_backward(
        operands: TensorList<Self>,
        weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        of_heads: Heads,
    ) -> TensorList<Self> {
        if of_heads.norm.is_some() {
            return reference::heads_with_rotary_backward::<Self>(operands, weights, cosines, sines, of_heads);
        }
        let [of_cosines, of_sines] = [&cosines, &sines].map(|table| into_contiguous(table.clone()));
        let made = attention_rotary_backward_on_gpu(&operands, &of_cosines, &of_sines, of_heads.options);
        made.unwrap_or_else(|| {
            reference::heads_with_rotary_backward::<Self>(operands, weights, cosines, sines, of_heads)
        })
    }
}
