//! The map and its adjoint, in burn's own operations.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, TensorMetadata, backend_extension};
use burn::tensor::{IndexingUpdateOp, Shape, Slice};

/// What a map is made of, all of one length.
#[derive(Clone, Debug, ExtensionType)]
pub struct Map<B: Backend> {
    /// B.
    pub signs: FloatTensor<B>,
    /// Π: where each number comes from.
    pub order: IntTensor<B>,
    /// G.
    pub gains: FloatTensor<B>,
}

/// The map and its adjoint. A default body is the definition; a device may have a faster way.
#[backend_extension(Cube: cfg(any(feature = "wgpu", feature = "cuda")), Flex: cfg(feature = "cpu"), Autodiff)]
pub trait FastfoodOps: Backend {
    /// The first `count` numbers of `H G Π H B v`, where zeros follow `v`.
    fn spread(v: FloatTensor<Self>, #[extension_type] map: Map<Self>, count: usize) -> FloatTensor<Self> {
        spread::<Self>(v, map, count)
    }

    /// The first `dimension` numbers of `B H Πᵀ G H dy`, where zeros follow `dy`.
    fn spread_back(dy: FloatTensor<Self>, #[extension_type] map: Map<Self>, dimension: usize) -> FloatTensor<Self> {
        spread_back::<Self>(dy, map, dimension)
    }
}

/// `H G Π H B v`.
pub fn spread<B: Backend>(v: FloatTensor<B>, map: Map<B>, count: usize) -> FloatTensor<B> {
    let n = length::<B>(&map.signs);
    let mixed = hadamard::<B>(B::float_mul(padded::<B>(v, n), map.signs));
    let mixed = B::float_mul(B::float_select(mixed, 0, map.order), map.gains);
    first::<B>(hadamard::<B>(mixed), count)
}

/// `B H Πᵀ G H dy`.
pub fn spread_back<B: Backend>(dy: FloatTensor<B>, map: Map<B>, dimension: usize) -> FloatTensor<B> {
    let n = length::<B>(&map.signs);
    let mixed = B::float_mul(hadamard::<B>(padded::<B>(dy, n)), map.gains);
    let zeros = B::float_zeros([n].into(), &mixed.device(), mixed.dtype().into());
    let mixed = B::float_select_assign(zeros, 0, map.order, mixed, IndexingUpdateOp::Add);
    first::<B>(B::float_mul(hadamard::<B>(mixed), map.signs), dimension)
}

fn length<B: Backend>(of: &FloatTensor<B>) -> usize {
    of.shape().num_elements()
}

fn padded<B: Backend>(x: FloatTensor<B>, n: usize) -> FloatTensor<B> {
    let rest = n - length::<B>(&x);
    if rest == 0 {
        return x;
    }
    let zeros = B::float_zeros([rest].into(), &x.device(), x.dtype().into());
    B::float_cat(vec![x, zeros], 0)
}

fn first<B: Backend>(x: FloatTensor<B>, count: usize) -> FloatTensor<B> {
    B::float_slice(x, &[Slice::from(0..count)])
}

/// The Walsh-Hadamard transform without its 1/√n; the length is a power of two.
fn hadamard<B: Backend>(mut x: FloatTensor<B>) -> FloatTensor<B> {
    let n = length::<B>(&x);
    let mut half = 1;
    while half < n {
        let pairs = B::float_reshape(x, Shape::from([n / (2 * half), 2, half]));
        let of = |i: usize| B::float_slice(pairs.clone(), &[Slice::from(0..n / (2 * half)), Slice::from(i..i + 1)]);
        let (a, b) = (of(0), of(1));
        let both = vec![B::float_add(a.clone(), b.clone()), B::float_sub(a, b)];
        x = B::float_reshape(B::float_cat(both, 1), [n].into());
        half *= 2;
    }
    x
}
