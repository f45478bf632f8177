//! The feed-forward layer on graphics adapters: on a GPU the activation is made, and its gradients are, in the dispatch that makes what
//! goes into them.

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;

use super::reference::{self, FeedForwardOps};
use crate::linear::epilogue::Epilogue;
use crate::linear::products::{Made, Products};
use crate::linear::{Group, products_back, products_of};
use crate::tensor_list::TensorList;

impl FeedForwardOps for CubeBackend {
    fn gated_forward(x: FloatTensor<Self>, inner: Group<Self>) -> TensorList<Self> {
        let products = Products { epilogue: Epilogue::Swiglu, ..products_of(&x, &inner) };
        products.fused().map_or_else(|| reference::gated_forward::<Self>(x, inner), all)
    }

    fn gated_back(
        dy: FloatTensor<Self>,
        outer: Group<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
    ) -> TensorList<Self> {
        let [gate, up] = [gate, up].map(into_contiguous);
        let epilogue = Epilogue::SwigluBackward(Box::new([gate.clone(), up.clone()]));
        let products = Products { epilogue, ..products_back(&TensorList(vec![dy.clone()]), &outer) };
        products.fused().map_or_else(|| reference::gated_back::<Self>(dy, outer, gate, up), all)
    }
}

fn all(Made { outputs, low }: Made) -> TensorList<CubeBackend> {
    TensorList([outputs, low].concat())
}
