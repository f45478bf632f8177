//! What else the dispatch that makes products may do with them.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;

use super::size::Size;
use crate::shader::suit;

/// What is done with products where tiles make them.
#[derive(Clone, Debug)]
pub enum Finish {
    /// Nothing.
    Keep,
    /// The first opens the second, `silu(gate) · up`: a third output, in a memory of its own.
    Gate,
    /// The only one is the gradient of such values, made of these: gate and up, contiguous. The outputs are the gradients
    /// of both, and the values again.
    GateBack(Box<[CubeTensor; 2]>),
    /// Some are turned as [`Angles`](crate::Angles) turns.
    Turn(Box<Turn>),
}

/// Pairs within heads that are turned by the angles of their rows' positions.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Contiguous `[batch or 1, 1, seq, head_dim / 2]`, as are the sines; for one dispatch both must lie in one memory.
    pub cosines: CubeTensor,
    pub sines: CubeTensor,
    /// How many of the products.
    pub first: usize,
}

impl Turn {
    /// Fours of numbers in half a head.
    pub fn half(&self) -> u32 {
        (self.cosines.shape()[3] / 4) as u32
    }

    /// Rows after which the angles begin again.
    pub fn period(&self) -> u32 {
        (self.cosines.shape()[0] * self.cosines.shape()[2]) as u32
    }

    /// If heads are whole fours, and rows whole texts.
    pub fn fits(&self, sizes: &[Size]) -> bool {
        let half = self.cosines.shape()[3];
        let of_heads = |size: &Size| (size.columns as usize).is_multiple_of(2 * half);
        let of_texts = |size: &Size| size.rows.is_multiple_of(self.period());
        let [cosines, sines] = [&self.cosines, &self.sines];
        let angles = suit([cosines, sines]) && cosines.shape() == sines.shape() && half.is_multiple_of(4);
        angles && sizes.iter().take(self.first).all(of_heads) && sizes.iter().all(of_texts)
    }
}
