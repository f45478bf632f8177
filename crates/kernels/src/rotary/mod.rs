//! Rotary position embedding, half-split as Hugging Face stores it (Su et al. 2021, eq. 34).

mod backward;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod launch;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor, TensorData};
use stratune_runtime::span;

pub(crate) use reference::RotaryOps;

use crate::linear::{Matrix, group_weights};

/// Rotary embedding: cosines and sines of the angles of every position.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
    /// Whether any angle is another than 0.
    rotates: bool,
}

impl Rotary {
    /// Tables for `positions` positions and heads of `head_dim` with the wavelengths of the paper, whose base is `theta`.
    pub fn new(head_dim: usize, positions: usize, theta: f64, device: &Device) -> Self {
        let frequency = |i: usize| theta.powf(-2.0 * i as f64 / head_dim as f64);
        Self::of(&(0..head_dim / 2).map(frequency).collect::<Vec<_>>(), 1.0, positions, device)
    }

    /// Tables for `positions` positions: `frequencies` has one for each pair of a head, in radians a position, and cosines
    /// and sines are multiplied by `magnitude`. They are computed in f64 on the host, so that they are the same numbers on
    /// every device.
    pub fn of(frequencies: &[f64], magnitude: f64, positions: usize, device: &Device) -> Self {
        let half = frequencies.len();
        let table = |f: fn(f64) -> f64| {
            let of_position = |p: usize| frequencies.iter().map(move |w| (magnitude * f(p as f64 * w)) as f32);
            let values: Vec<f32> = (0..positions).flat_map(of_position).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 1, positions, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin), rotates: true }
    }

    /// Tables of heads that are not rotated, wherever they stand: of one position.
    pub fn none(head_dim: usize, device: &Device) -> Self {
        Self { rotates: false, ..Self::of(&vec![0.0; head_dim / 2], 1.0, 1, device) }
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.cos.dims()[2]
    }

    /// Of the `seq` positions after `past` earlier ones. Those beyond [`positions`](Self::positions) can only be padding, and
    /// are rotated as the last.
    pub fn cos_sin_after(&self, past: usize, seq: usize) -> CosSin {
        let positions = self.positions();
        if past + seq > positions {
            let position_ids =
                (past..past + seq).map(|place| place.min(positions.saturating_sub(1)) as i32).collect::<Vec<_>>();
            return self.cos_sin_at(&Tensor::from_data(TensorData::new(position_ids, [1, seq]), &self.cos.device()));
        }
        let of = |table: &Tensor<4>| table.clone().narrow(2, past, seq);
        CosSin { rotates: self.rotates, ..CosSin::in_one_buffer(of(&self.cos), of(&self.sin)) }
    }

    /// Of any positions within [`positions`](Self::positions).
    ///
    /// # Shapes
    /// - `position_ids`: `[batch, seq]`
    pub fn cos_sin_at(&self, position_ids: &Tensor<2, Int>) -> CosSin {
        let [batch, seq] = position_ids.dims();
        let of = |table: &Tensor<4>| {
            let half = table.dims()[3];
            table.clone().select(2, position_ids.clone().reshape([batch * seq])).reshape([batch, 1, seq, half])
        };
        CosSin { rotates: self.rotates, ..CosSin::in_one_buffer(of(&self.cos), of(&self.sin)) }
    }
}

/// Cosines and sines of the positions of some tokens.
#[derive(Clone, Debug)]
pub struct CosSin {
    /// `[batch or 1, 1, seq, head_dim/2]`, as is the other.
    cos: Tensor<4>,
    sin: Tensor<4>,
    /// Whether any angle is another than 0.
    rotates: bool,
}

impl CosSin {
    /// Where shaders have both by one binding. One position is one that is generated, whose queries and keys are
    /// rotated by themselves: for it that is not worth a copy.
    fn in_one_buffer(cos: Tensor<4>, sin: Tensor<4>) -> Self {
        let shape = cos.dims();
        if shape[2] == 1 {
            return Self { cos, sin, rotates: true };
        }
        let matrix = |table: &Tensor<4>| Matrix::from(table.clone().flatten::<2>(0, 2));
        let mut laid = group_weights(vec![matrix(&cos), matrix(&sin)]).into_iter();
        let [cos, sin] = [cos, sin].map(|table| match laid.next() {
            Some(Matrix::Floats(laid)) => laid.reshape(shape),
            _ => table,
        });
        Self { cos, sin, rotates: true }
    }

    /// Cosines and sines.
    pub(crate) fn tensors(&self) -> [Tensor<4>; 2] {
        [self.cos.clone(), self.sin.clone()]
    }

    /// Whether heads are rotated at all.
    pub(crate) fn rotates(&self) -> bool {
        self.rotates
    }

    /// Queries and keys with each pair `(x[i], x[i + head_dim/2])` rotated by its position's angle, and values as they
    /// are: together, because the gradients of all three are made at once.
    ///
    /// # Shapes
    /// - `q`: `[batch, heads, seq, head_dim]`, `k`, `v`: `[batch, kv_heads, seq, head_dim]`, as are the outputs
    pub fn apply_rotary(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> [Tensor<4>; 3] {
        if !self.rotates {
            return [q, k, v];
        }
        let _span = span("rotary, forward");
        let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
        let [cos, sin] = [self.cos.clone(), self.sin.clone()].map(Tensor::into_dispatch);
        let mut rotated = <Dispatch as RotaryOps>::apply_rotary(q, k, v, cos, sin).0.into_iter();
        #[allow(clippy::expect_used)] // One of each.
        std::array::from_fn(|_| Tensor::from_dispatch(rotated.next().expect("an output for each input")))
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    /// As a query.
    fn rotate(cos_sin: &CosSin, x: Tensor<4>) -> Tensor<4> {
        let [q, ..] = cos_sin.apply_rotary(x.clone(), x.clone(), x);
        q
    }

    #[test]
    fn scores_depend_on_distance_only() {
        let device = Device::flex();
        let rotary = Rotary::new(8, 16, 10_000.0, &device);
        let x =
            Tensor::<4>::from_data(TensorData::new((0..8).map(|i| (i as f32).sin()).collect(), [1, 1, 1, 8]), &device);
        let y =
            Tensor::<4>::from_data(TensorData::new((0..8).map(|i| (i as f32).cos()).collect(), [1, 1, 1, 8]), &device);
        let rotated = |x: &Tensor<4>, a| rotate(&rotary.cos_sin_after(a, 1), x.clone());
        let score = |a, b| (rotated(&x, a) * rotated(&y, b)).sum().into_scalar::<f32>();
        // Two rotations in f32.
        assert!((score(3, 1) - score(12, 10)).abs() < 1e-5);
        assert!((score(3, 1) - score(3, 2)).abs() > 1e-3);
    }

    /// Far beyond the one position that its tables have.
    #[test]
    fn none_leaves_heads_as_they_are() {
        let device = Device::flex();
        let values = (0..24).map(|i| (i as f32).sin()).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 3, 8]), &device);
        assert_eq!(rotate(&Rotary::none(8, &device).cos_sin_after(50, 3), x.clone()).into_data(), x.into_data());
    }

    /// Rows are padded to more than the context holds.
    #[test]
    fn padding_may_lie_beyond_the_last_position() {
        let rotary = Rotary::new(4, 6, 10_000.0, &Device::flex());
        let x = Tensor::<4>::ones([1, 1, 5, 4], &Device::flex());
        let within = rotate(&rotary.cos_sin_after(3, 3), x.clone().narrow(2, 0, 3));
        let rotated = rotate(&rotary.cos_sin_after(3, 5), x);
        assert_eq!(rotated.dims(), [1, 1, 5, 4]);
        assert_eq!(rotated.narrow(2, 0, 3).into_data(), within.into_data());
    }

    /// A row of two texts is rotated as each is alone.
    #[test]
    fn positions_are_gathered_for_each_row() {
        let device = Device::flex();
        let rotary = Rotary::new(4, 16, 10_000.0, &device);
        let x = Tensor::<4>::ones([2, 3, 5, 4], &device);
        let position_ids = Tensor::<2, Int>::from_data([[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]], &device);
        let rotated = rotate(&rotary.cos_sin_at(&position_ids), x.clone());
        for (row, texts) in [[3, 2], [1, 4]].into_iter().enumerate() {
            let one = x.clone().narrow(0, row, 1);
            let apart = texts.map(|seq| rotate(&rotary.cos_sin_after(0, seq), one.clone().narrow(2, 0, seq)));
            let want = Tensor::cat(apart.to_vec(), 2).into_data();
            assert_eq!(rotated.clone().narrow(0, row, 1).into_data(), want);
        }
    }
}
