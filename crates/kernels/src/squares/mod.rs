//! The norm of many tensors together, without reading anything back: one pass over each, which also lays them side by
//! side, and one over the sums.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};

use reference::{PARTS, SquaresOps};

/// Tensors, and the norm of all.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The sets, in the order in which they came. What belongs to one set lies side by side where that saves dispatches.
    pub sets: Vec<Vec<Tensor<1>>>,
    /// `√Σ x²` over all numbers of all tensors: `[1]`.
    pub norm: Tensor<1>,
}

/// Brings together the tensors of each set.
pub fn gather(sets: Vec<Vec<Tensor<1>>>, device: &Device) -> Gathered {
    let count: usize = sets.iter().map(Vec::len).sum();
    let mut sums = Tensor::<1>::zeros([PARTS * count.max(1)], device).into_dispatch();
    let mut i = 0;
    let mut gathered = Vec::new();
    for set in sets {
        let count = set.len();
        if count == 0 {
            gathered.push(set);
            continue;
        }
        let (more, set) = <Dispatch as SquaresOps>::gather(sums, set.into(), i);
        sums = more;
        i += count;
        gathered.push(set.into());
    }
    Gathered { sets: gathered, norm: Tensor::<1>::from_dispatch(sums).sum().sqrt() }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    #[test]
    fn the_norm_of_all_is_one_number() {
        let device = Device::flex();
        let sets = || {
            let tensor = |v: Vec<f32>| Tensor::<1>::from_floats(&v[..], &device);
            vec![vec![tensor(vec![3.0]), tensor(vec![0.0; 70])], vec![], vec![tensor(vec![4.0, 12.0])]]
        };
        let norm = |of| gather(of, &device).norm.into_scalar::<f32>();
        assert_eq!(norm(sets()), 13.0);
        assert_eq!(norm(vec![]), 0.0);
        let lengths: Vec<Vec<usize>> =
            gather(sets(), &device).sets.iter().map(|set| set.iter().map(|t| t.dims()[0]).collect()).collect();
        assert_eq!(lengths, [vec![1, 70], vec![], vec![2]]);
    }
}
