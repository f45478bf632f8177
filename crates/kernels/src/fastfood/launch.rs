//! The map by `shaders/hadamard.wgsl`: the diagonals and the order are in the first and the last dispatch of a transform.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, FastfoodOps, Map};
use crate::shader::{Bound, Shader, empty, grid, reads_words, suit};

/// Numbers of a tile, as a power of two: 16 KiB, which every adapter has.
const TILE: u32 = 12;
/// Neighbours that are read together where a tile's numbers lie apart, likewise.
const MIN_RUN: u32 = 4;

/// What else is done where a transform reads its numbers first, or writes them last.
#[derive(Clone, Copy)]
struct Also<'a> {
    first: bool,
    /// Each is multiplied.
    scale: &'a CubeTensor,
    /// It comes from the place that this has for it, or goes there.
    order: Option<&'a CubeTensor>,
}

impl FastfoodOps for CubeBackend {
    fn spread(v: FloatTensor<Self>, map: Map<Self>, count: usize) -> FloatTensor<Self> {
        let Some(n) = length(&v, &map) else { return reference::spread::<Self>(v, map, count) };
        let Map { signs, order, gains } = &map;
        let mixed = transform(into_contiguous(v), n, n, Also { first: true, scale: signs, order: None });
        transform(mixed, n, count, Also { first: true, scale: gains, order: Some(order) })
    }

    fn spread_back(dy: FloatTensor<Self>, map: Map<Self>, dimension: usize) -> FloatTensor<Self> {
        let Some(n) = length(&dy, &map) else { return reference::spread_back::<Self>(dy, map, dimension) };
        let Map { signs, order, gains } = &map;
        let mixed = transform(into_contiguous(dy), n, n, Also { first: false, scale: gains, order: Some(order) });
        transform(mixed, n, dimension, Also { first: false, scale: signs, order: None })
    }
}

/// The length of the map, if shaders can work on it.
fn length(x: &CubeTensor, Map { signs, order, gains }: &Map<CubeBackend>) -> Option<usize> {
    let in_order = [signs, order, gains].iter().all(|of| of.is_contiguous());
    (in_order && suit([x, signs, gains]) && reads_words(order)).then(|| order.shape().num_elements())
}

/// The first `count` numbers of the transform of `x` and zeros behind it, `n` together.
fn transform(mut x: CubeTensor, n: usize, count: usize, also: Also<'_>) -> CubeTensor {
    let stages = n.ilog2();
    let mut done = 0;
    loop {
        // Neighbours first, and then what lies further and further apart.
        let run = if done == 0 { 0 } else { MIN_RUN };
        let some = (stages - done).min(TILE - run);
        let (is_first, is_last) = (done == 0, done + some == stages);
        let y = empty(&x, [if is_last { count } else { n }]);
        let here = Some(also).filter(|also| if also.first { is_first } else { is_last });
        dispatch(&x, &y, n as u32 >> (run + some), [run + some, run, done], here);
        if is_last {
            return y;
        }
        (x, done) = (y, done + some);
    }
}

/// One dispatch; the size of a tile, of its runs, and of what lies from one to the next are powers of two.
fn dispatch(x: &CubeTensor, y: &CubeTensor, workgroups: u32, tile: [u32; 3], also: Option<Also<'_>>) {
    let mut bound = vec![Bound::In(x), Bound::Out(y)];
    bound.extend(also.map(|also| Bound::In(also.scale)));
    bound.extend(also.and_then(|also| also.order).map(Bound::In));
    let [size, run, stride] = tile.map(|power| 1_u32 << power);
    let lines = |wanted: fn(Also<'_>) -> bool| u32::from(also.is_some_and(wanted));
    let numbers = |t: &CubeTensor| t.shape().num_elements() as u32;
    Shader::new("hadamard", include_str!("../../../../shaders/hadamard.wgsl"))
        .with("size", size)
        .with("run", run)
        .with("stride", stride)
        .with("numbers_binding", bound.len())
        .unrolled("$scaled", lines(|_| true))
        .unrolled("$ordered", lines(|also| also.order.is_some()))
        .unrolled("$scales_first", lines(|also| also.first))
        .unrolled("$scales_last", lines(|also| !also.first))
        .unrolled("$gathers", lines(|also| also.first && also.order.is_some()))
        .unrolled("$scatters", lines(|also| !also.first && also.order.is_some()))
        .launch(&bound, &[numbers(x), numbers(y), workgroups], grid(workgroups));
}
