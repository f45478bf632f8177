//! What one dispatch of the WGSL kernels of `shaders/linear.wgsl` is to make, before anything is bound: decided from sizes.

use super::epilogue::Epilogue;
use super::size::{Orientation, Reading, Size};
use crate::compute::Half;

/// Invocations of a workgroup where each reads for itself, as `linear_direct.wgsl` has them.
const DIRECT_INVOCATIONS: u32 = 8;

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    pub orientation: Orientation,
    pub reading: Reading,
    /// Of each product.
    pub sizes: &'a [Size],
    /// Of each product with an update, that of `lhs down'`.
    pub low: Vec<Size>,
    pub summed: bool,
    pub epilogue: &'a Epilogue,
    /// What tiles multiply in, if not in f32.
    pub half: Option<Half>,
}

impl<'a> Plan<'a> {
    /// `None` if one dispatch cannot.
    pub fn new(
        (orientation, reading): (Orientation, Reading),
        sizes: &'a [Size],
        low: Vec<Size>,
        summed: bool,
        epilogue: &'a Epilogue,
        half: Option<Half>,
    ) -> Option<Self> {
        // For a software adapter a dispatch costs nothing.
        let tiled = reading == Reading::Tiled;
        let half = half.filter(|_| tiled && sizes.iter().all(|size| size.suits_half()));
        (tiled || !epilogue.needs_tiles()).then_some(Self { orientation, reading, sizes, low, summed, epilogue, half })
    }

    /// Whether who makes a place of one product makes that of all of them.
    pub fn joined(&self) -> bool {
        self.summed || self.epilogue.joins()
    }

    /// Whether what is low is better made where the product is, again by each workgroup, than by a dispatch of its own: a rank of 8
    /// is an eighth more arithmetic. So many rows of it take about as long as a dispatch does to begin.
    pub fn makes_low(&self) -> bool {
        const WIDEST: u32 = 16;
        const MAX: u32 = 8 * 1024;
        let Some(first) = self.low.first().filter(|_| self.reading == Reading::Tiled) else { return false };
        let few = |low: &Size| low.columns <= WIDEST && low.rows * low.columns <= MAX;
        self.low.iter().all(|low| low.columns == first.columns && few(low))
    }

    /// Of each product the number of its first maker, a workgroup or an invocation, and of all of them how many workgroups.
    pub fn makers(&self) -> (Vec<u32>, u32) {
        let mut makers = 0;
        let first = |(i, size): (usize, &Size)| {
            let first = makers;
            makers += if self.joined() && i > 0 { 0 } else { size.makers(self.reading) };
            first
        };
        let firsts = self.sizes.iter().enumerate().map(first).collect();
        let workgroups = match self.reading {
            Reading::Direct { .. } => makers.div_ceil(DIRECT_INVOCATIONS),
            Reading::Tiled | Reading::Split => makers,
        };
        (firsts, workgroups)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::FloatDType;

    use super::*;

    fn size(rows: u32, columns: u32, depth: u32) -> Size {
        Size { rows, columns, depth }
    }

    fn plan<'a>(reading: Reading, sizes: &'a [Size], summed: bool, epilogue: &'a Epilogue) -> Option<Plan<'a>> {
        let low = sizes.iter().map(|of| Size { columns: 8, ..*of }).collect();
        let half = Some(Half { dtype: FloatDType::F16, loss_scale: 1.0 });
        Plan::new((Orientation::Nt, reading), sizes, low, summed, epilogue, half)
    }

    /// Workgroups are numbered through the products, or shared where one maker goes through all of them.
    #[test]
    fn makers_are_numbered_through() {
        let sizes = [size(65, 64, 64), size(65, 128, 64), size(1, 4, 64)];
        let direct = Reading::Direct { side: 16 };
        for (reading, summed, want) in [
            (Reading::Tiled, false, (vec![0, 2, 6], 7)),
            (Reading::Tiled, true, (vec![0, 2, 2], 2)),
            (direct, false, (vec![0, 20, 60], 8)),
            (Reading::Split, false, (vec![0, 72, 216], 217)),
        ] {
            assert_eq!(plan(reading, &sizes, summed, &Epilogue::None).unwrap().makers(), want, "{reading:?}, {summed}");
        }
        let pair = [sizes[0], sizes[0]];
        assert_eq!(plan(Reading::Tiled, &pair, false, &Epilogue::Swiglu).unwrap().makers(), (vec![0, 2], 2));
    }

    #[test]
    fn only_tiles_make_epilogues_half_precision_and_what_is_low() {
        let sizes = [size(65, 64, 64), size(65, 64, 64)];
        let direct = Reading::Direct { side: 16 };
        assert!(plan(direct, &sizes, false, &Epilogue::Swiglu).is_none());
        let tiled = plan(Reading::Tiled, &sizes, false, &Epilogue::Swiglu).unwrap();
        assert!(tiled.makes_low() && tiled.half.is_some() && tiled.joined());
        let direct = plan(direct, &sizes, false, &Epilogue::None).unwrap();
        assert!(!direct.makes_low() && direct.half.is_none() && !direct.joined());
        // Too many rows, and a side too narrow for f16.
        for (rows, columns, low, half) in [(1025, 64, false, true), (1024, 64, true, true), (33, 32, true, false)] {
            let sizes = [size(rows, columns, 64)];
            let plan = plan(Reading::Tiled, &sizes, false, &Epilogue::None).unwrap();
            assert_eq!((plan.makes_low(), plan.half.is_some()), (low, half), "{rows} × {columns}");
        }
    }
}
