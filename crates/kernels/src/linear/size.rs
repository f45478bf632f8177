//! How large a product is, how its operands lie, and how a workgroup comes by them.

use burn_cubecl::tensor::CubeTensor;

use crate::shader::is_software;

/// Most rows and columns that a workgroup makes.
const TILE: u32 = 64;
/// An output no wider than this is narrow: most of a tile would be empty.
const NARROW: u32 = 32;
/// Rows and columns of a narrow output that a workgroup makes.
const NARROW_TILE: u32 = 8;

/// How the operands of a product lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// `lhs rhsᵀ`: `[rows, depth]` and `[columns, depth]`.
    Nt,
    /// `lhs rhs`: `[rows, depth]` and `[depth, columns]`.
    Nn,
    /// `lhsᵀ rhs`: `[depth, rows]` and `[depth, columns]`.
    Tn,
}

/// How a workgroup comes by its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// Through workgroup memory, for a GPU.
    Tiled,
    /// Each invocation by itself, for a software adapter: `side` × `side` of the output, 8 or 16.
    Direct { side: u32 },
    /// Each invocation some steps of the depth, for narrow outputs.
    Split,
}

/// The sides of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
}

impl Size {
    /// Of two matrices; `None` if they do not fit together, or one is empty, or the shader could not read them in fours
    /// or reach their ends with its indices.
    pub fn of(lhs: &[usize], rhs: &[usize], orientation: Orientation) -> Option<Self> {
        let (&[l0, l1], &[r0, r1]) = (lhs, rhs) else { return None };
        let (rows, depth, columns, rhs_depth) = match orientation {
            Orientation::Nt => (l0, l1, r0, r1),
            Orientation::Nn => (l0, l1, r1, r0),
            Orientation::Tn => (l1, l0, r1, r0),
        };
        if depth != rhs_depth || [l1, r1, columns].iter().any(|last| last % 4 != 0) {
            return None;
        }
        let side = |side: usize| u32::try_from(side).ok().filter(|side| *side > 0);
        let size = Self { rows: side(rows)?, columns: side(columns)?, depth: side(depth)? };
        size.within_reach().then_some(size)
    }

    /// Whether 32 bits index every matrix, counted a whole tile beyond its edge, as the shader does.
    fn within_reach(self) -> bool {
        let indexed = |a: u32, b: u32| a.checked_add(TILE)?.checked_mul(b.checked_add(TILE)?);
        let [rows, columns, depth] = [self.rows, self.columns, self.depth];
        [(rows, depth), (columns, depth), (rows, columns)].iter().all(|(a, b)| indexed(*a, *b).is_some())
    }

    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        [self.rows, self.columns].map(|side| side as usize)
    }

    /// Numbers of the output.
    pub fn outputs(self) -> usize {
        self.rows as usize * self.columns as usize
    }

    /// Whether it may multiply in half precision: no side is as narrow as those of low-rank updates usually are, which stay exact.
    pub fn suits_half(self) -> bool {
        self.depth > NARROW && !self.is_narrow(NARROW)
    }

    fn is_narrow(self, side: u32) -> bool {
        self.rows.min(self.columns) <= side
    }

    /// What makes squares of the output: workgroups, or invocations where each reads for itself.
    pub fn makers(self, reading: Reading) -> u32 {
        let side = match reading {
            Reading::Tiled => TILE,
            Reading::Split => NARROW_TILE,
            Reading::Direct { side } => side,
        };
        self.columns.div_ceil(side) * self.rows.div_ceil(side)
    }
}

impl Reading {
    /// What suits this device.
    pub fn of(tensor: &CubeTensor, sizes: &[Size]) -> Self {
        let all_within = |side: u32| sizes.iter().all(|size| size.is_narrow(side));
        match is_software(tensor) {
            true if all_within(15) => Self::Direct { side: 8 },
            true => Self::Direct { side: 16 },
            false if all_within(NARROW) => Self::Split,
            false => Self::Tiled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_from_the_orientation_and_misfits_are_left_to_the_engine() {
        let size = |rows, columns, depth| Some(Size { rows, columns, depth });
        for (lhs, rhs, orientation, expected) in [
            ([2, 8], [4, 8], Orientation::Nt, size(2, 4, 8)),
            ([2, 8], [8, 4], Orientation::Nn, size(2, 4, 8)),
            ([7, 12], [7, 4], Orientation::Tn, size(12, 4, 7)),
            ([2, 8], [4, 4], Orientation::Nt, None),
            ([2, 8], [4, 8], Orientation::Nn, None),
            ([2, 8], [4, 8], Orientation::Tn, None),
            ([2, 7], [4, 7], Orientation::Nt, None),
            ([2, 8], [5, 8], Orientation::Nt, None),
            ([0, 8], [4, 8], Orientation::Nt, None),
            ([2, 0], [4, 0], Orientation::Nt, None),
            ([1 << 16, 8], [1 << 16, 8], Orientation::Nt, None),
            ([usize::MAX, 4], [4, 4], Orientation::Nt, None),
        ] {
            assert_eq!(Size::of(&lhs, &rhs, orientation), expected, "{lhs:?} {rhs:?} {orientation:?}");
        }
        assert_eq!(Size::of(&[2, 8, 1], &[4, 8], Orientation::Nt), None);
        let size = |rows, columns, depth| Size { rows, columns, depth };
        let half = [(33, 36, 36), (32, 36, 36), (33, 32, 36), (33, 36, 32)].map(|(r, c, d)| size(r, c, d).suits_half());
        assert_eq!(half, [true, false, false, false]);
        let narrow = Size { rows: 65, columns: 8, depth: 1 };
        let makers = [Reading::Tiled, Reading::Split, Reading::Direct { side: 8 }, Reading::Direct { side: 16 }];
        assert_eq!(makers.map(|reading| narrow.makers(reading)), [2, 9, 9, 5]);
    }
}
