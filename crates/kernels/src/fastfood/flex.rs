//! The map on the CPU: each transform in place, a part that fits the cache at a time.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::reference::{self, FastfoodOps, Map};
use crate::cpu::{each, floats, integers, tensor, widest};

/// Numbers of a part: 64 KiB.
const PART: usize = 1 << 14;

impl FastfoodOps for Flex {
    fn spread(v: FloatTensor<Self>, map: Map<Self>, count: usize) -> FloatTensor<Self> {
        let v = v.to_contiguous();
        let (Some(numbers), Some([signs, gains]), Some(order)) = (floats(&v), diagonals(&map), integers(&map.order))
        else {
            return reference::spread::<Self>(v, map, count);
        };
        let mut x = vec![0.0; signs.len()];
        x.iter_mut().zip(numbers.iter().zip(signs)).for_each(|(x, (v, sign))| *x = v * sign);
        transform(&mut x);
        let mut y: Vec<f32> = order.iter().zip(gains).map(|(from, gain)| x[*from as usize] * gain).collect();
        transform(&mut y);
        y.truncate(count);
        tensor(y, [count].into())
    }

    fn spread_back(dy: FloatTensor<Self>, map: Map<Self>, dimension: usize) -> FloatTensor<Self> {
        let dy = dy.to_contiguous();
        let (Some(numbers), Some([signs, gains]), Some(order)) = (floats(&dy), diagonals(&map), integers(&map.order))
        else {
            return reference::spread_back::<Self>(dy, map, dimension);
        };
        let mut y = vec![0.0; signs.len()];
        y[..numbers.len()].copy_from_slice(numbers);
        transform(&mut y);
        let mut x = vec![0.0; signs.len()];
        for (y, (to, gain)) in y.iter().zip(order.iter().zip(gains)) {
            x[*to as usize] = y * gain;
        }
        transform(&mut x);
        x.truncate(dimension);
        x.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
        tensor(x, [dimension].into())
    }
}

fn diagonals(map: &Map<Flex>) -> Option<[&[f32]; 2]> {
    Some([floats(&map.signs)?, floats(&map.gains)?])
}

/// The Walsh-Hadamard transform of a power of two of numbers. Its stages can come in any order: those of pairs that lie far
/// apart come first, and then all others of a part.
fn transform(x: &mut [f32]) {
    let mut half = x.len() / 2;
    while half >= PART {
        for pairs in x.chunks_mut(2 * half) {
            let (a, b) = pairs.split_at_mut(half);
            each(a.chunks_mut(PART).zip(b.chunks_mut(PART)).collect(), |(a, b): (&mut [f32], &mut [f32])| {
                widest(
                    #[inline(always)]
                    || stage(a, b),
                )
            });
        }
        half /= 2;
    }
    each(x.chunks_mut(PART).collect(), |part: &mut [f32]| {
        widest(
            #[inline(always)]
            || all_stages(part),
        )
    });
}

#[inline(always)]
fn stage(a: &mut [f32], b: &mut [f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (*a + *b, *a - *b);
    }
}

#[inline(always)]
fn all_stages(x: &mut [f32]) {
    let mut half = x.len() / 2;
    while half > 0 {
        for pairs in x.chunks_exact_mut(2 * half) {
            let (a, b) = pairs.split_at_mut(half);
            stage(a, b);
        }
        half /= 2;
    }
}
