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

use reference::{GradNormOps, PARTS};

/// Tensors, and the norm of all.
#[derive(Clone, Debug)]
pub struct GroupedGradients {
    /// The sets, in the order in which they came. What belongs to one set lies side by side where that saves dispatches.
    pub groups: Vec<Vec<Tensor<1>>>,
    /// `√Σ x²` over all numbers of all tensors: `[1]`.
    pub norm: Tensor<1>,
}

/// Brings together the tensors of each set.
pub fn group_gradients(groups: Vec<Vec<Tensor<1>>>, device: &Device) -> GroupedGradients {
    let count: usize = groups.iter().map(Vec::len).sum();
    let mut sums = Tensor::<1>::zeros([PARTS * count.max(1)], device).into_dispatch();
    let mut i = 0;
    let mut gathered = Vec::new();
    for set in groups {
        let count = set.len();
        if count == 0 {
            gathered.push(set);
            continue;
        }
        let (more, set) = <Dispatch as GradNormOps>::group_gradients(sums, set.into(), i);
        sums = more;
        i += count;
        gathered.push(set.into());
    }
    GroupedGradients { groups: gathered, norm: Tensor::<1>::from_dispatch(sums).sum().sqrt() }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    #[test]
    fn the_norm_of_all_is_one_number() {
        let device = Device::flex();
        let groups = || {
            let tensor = |v: Vec<f32>| Tensor::<1>::from_floats(&v[..], &device);
            vec![vec![tensor(vec![3.0]), tensor(vec![0.0; 70])], vec![], vec![tensor(vec![4.0, 12.0])]]
        };
        let norm = |of| group_gradients(of, &device).norm.into_scalar::<f32>();
        assert_eq!(norm(groups()), 13.0);
        assert_eq!(norm(vec![]), 0.0);
        let lengths: Vec<Vec<usize>> = group_gradients(groups(), &device)
            .groups
            .iter()
            .map(|set| set.iter().map(|t| t.dims()[0]).collect())
            .collect();
        assert_eq!(lengths, [vec![1, 70], vec![], vec![2]]);
    }
}
