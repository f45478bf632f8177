//! Attention over one input on graphics adapters: on a GPU queries and keys are turned where they are made, and their
//! gradients are turned back where those are, by `shaders/attention_back.wgsl`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use stratune_runtime::span;

use super::reference::{self, SelfAttentionOps, heads, rows};
use crate::attention::Options;
use crate::attention::launch::turned_back_on_gpu;
use crate::linear::epilogue::{Epilogue, Rotary};
use crate::linear::products::{Made, Products};
use crate::linear::{Group, products_of};
use crate::several::Several;

impl SelfAttentionOps for CubeBackend {
    fn turned_heads(
        x: FloatTensor<Self>,
        group: Group<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        head_dim: usize,
    ) -> Several<Self> {
        let [of_cosines, of_sines] = [&cosines, &sines].map(|table| into_contiguous(table.clone()));
        let rotary = Rotary { cosines: of_cosines, sines: of_sines, products: 2 };
        let products =
            Products { epilogue: Epilogue::Rotary(Box::new(rotary)), ..products_of(&rows::<Self>(x.clone()), &group) };
        let made = {
            let _span = span("linear, forward");
            products.fused()
        };
        let Some(Made { outputs, low }) = made else {
            return reference::turned_heads::<Self>(x, group, cosines, sines, head_dim);
        };
        let sides = [0, 1].map(|side| x.shape()[side]);
        let turned = outputs.into_iter().map(|rows| heads::<Self>(rows, sides, head_dim));
        Several(turned.chain(low).collect())
    }

    fn turned_back(
        operands: Several<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        options: Options,
    ) -> Several<Self> {
        let [of_cosines, of_sines] = [&cosines, &sines].map(|table| into_contiguous(table.clone()));
        let made = turned_back_on_gpu(&operands, &of_cosines, &of_sines, options.scores);
        made.unwrap_or_else(|| reference::turned_back::<Self>(operands, cosines, sines, options))
    }
}
