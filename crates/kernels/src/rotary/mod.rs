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

use crate::linear::{Matrix, lay_together};

/// The angles of every position, as tables of cosines and sines.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
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
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Tables of heads that are not turned, wherever they stand: of one position.
    pub fn none(head_dim: usize, device: &Device) -> Self {
        Self::of(&vec![0.0; head_dim / 2], 1.0, 1, device)
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.cos.dims()[2]
    }

    /// Of the `seq` positions after `past` earlier ones. Those beyond [`positions`](Self::positions) can only be padding, and
    /// are turned as the last.
    pub fn angles_after(&self, past: usize, seq: usize) -> Angles {
        let positions = self.positions();
        if past + seq > positions {
            let places =
                (past..past + seq).map(|place| place.min(positions.saturating_sub(1)) as i32).collect::<Vec<_>>();
            return self.angles_at(&Tensor::from_data(TensorData::new(places, [1, seq]), &self.cos.device()));
        }
        let of = |table: &Tensor<4>| table.clone().narrow(2, past, seq);
        Angles::beside(of(&self.cos), of(&self.sin))
    }

    /// Of any positions within [`positions`](Self::positions).
    ///
    /// # Shapes
    /// - `places`: `[batch, seq]`
    pub fn angles_at(&self, places: &Tensor<2, Int>) -> Angles {
        let [batch, seq] = places.dims();
        let of = |table: &Tensor<4>| {
            let half = table.dims()[3];
            table.clone().select(2, places.clone().reshape([batch * seq])).reshape([batch, 1, seq, half])
        };
        Angles::beside(of(&self.cos), of(&self.sin))
    }
}

/// The angles of the positions of some tokens.
#[derive(Clone, Debug)]
pub struct Angles {
    /// `[batch or 1, 1, seq, head_dim/2]`, as is the other.
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Angles {
    /// Where shaders have both by one binding. One position is one that is generated, whose queries and keys are turned by
    /// themselves: for it that is not worth a copy.
    fn beside(cos: Tensor<4>, sin: Tensor<4>) -> Self {
        let shape = cos.dims();
        if shape[2] == 1 {
            return Self { cos, sin };
        }
        let matrix = |table: &Tensor<4>| Matrix::from(table.clone().flatten::<2>(0, 2));
        let mut laid = lay_together(vec![matrix(&cos), matrix(&sin)]).into_iter();
        let [cos, sin] = [cos, sin].map(|table| match laid.next() {
            Some(Matrix::Floats(laid)) => laid.reshape(shape),
            _ => table,
        });
        Self { cos, sin }
    }

    /// Cosines and sines.
    pub(crate) fn tables(&self) -> [Tensor<4>; 2] {
        [self.cos.clone(), self.sin.clone()]
    }

    /// Queries and keys with each pair `(x[i], x[i + head_dim/2])` turned by its position's angle, and values as they are:
    /// together, because the gradients of all three are made at once.
    ///
    /// # Shapes
    /// - `q`: `[batch, heads, seq, head_dim]`, `k`, `v`: `[batch, kv_heads, seq, head_dim]`, as are the outputs
    pub fn turn_beside(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> [Tensor<4>; 3] {
        let _span = span("rotary, forward");
        let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
        let [cos, sin] = [self.cos.clone(), self.sin.clone()].map(Tensor::into_dispatch);
        let mut turned = <Dispatch as RotaryOps>::rotate_beside(q, k, v, cos, sin).0.into_iter();
        #[allow(clippy::expect_used)] // One of each.
        std::array::from_fn(|_| Tensor::from_dispatch(turned.next().expect("an output for each input")))
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;

    /// As a query.
    fn turn(angles: &Angles, x: Tensor<4>) -> Tensor<4> {
        let [q, ..] = angles.turn_beside(x.clone(), x.clone(), x);
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
        let turned = |x: &Tensor<4>, a| turn(&rotary.angles_after(a, 1), x.clone());
        let score = |a, b| (turned(&x, a) * turned(&y, b)).sum().into_scalar::<f32>();
        // Two turns in f32.
        assert!((score(3, 1) - score(12, 10)).abs() < 1e-5);
        assert!((score(3, 1) - score(3, 2)).abs() > 1e-3);
    }

    /// Far beyond the one position that its tables have.
    #[test]
    fn none_leaves_heads_as_they_are() {
        let device = Device::flex();
        let values = (0..24).map(|i| (i as f32).sin()).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 3, 8]), &device);
        assert_eq!(turn(&Rotary::none(8, &device).angles_after(50, 3), x.clone()).into_data(), x.into_data());
    }

    /// Rows are padded to more than the context holds.
    #[test]
    fn padding_may_lie_beyond_the_last_position() {
        let rotary = Rotary::new(4, 6, 10_000.0, &Device::flex());
        let x = Tensor::<4>::ones([1, 1, 5, 4], &Device::flex());
        let within = turn(&rotary.angles_after(3, 3), x.clone().narrow(2, 0, 3));
        let turned = turn(&rotary.angles_after(3, 5), x);
        assert_eq!(turned.dims(), [1, 1, 5, 4]);
        assert_eq!(turned.narrow(2, 0, 3).into_data(), within.into_data());
    }

    /// A row of two texts is turned as each is alone.
    #[test]
    fn places_are_gathered_for_each_row() {
        let device = Device::flex();
        let rotary = Rotary::new(4, 16, 10_000.0, &device);
        let x = Tensor::<4>::ones([2, 3, 5, 4], &device);
        let places = Tensor::<2, Int>::from_data([[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]], &device);
        let turned = turn(&rotary.angles_at(&places), x.clone());
        for (row, texts) in [[3, 2], [1, 4]].into_iter().enumerate() {
            let one = x.clone().narrow(0, row, 1);
            let apart = texts.map(|seq| turn(&rotary.angles_after(0, seq), one.clone().narrow(2, 0, seq)));
            let want = Tensor::cat(apart.to_vec(), 2).into_data();
            assert_eq!(turned.clone().narrow(0, row, 1).into_data(), want);
        }
    }
}
