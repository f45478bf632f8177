//! The WGSL kernels of `shaders/linear.wgsl`: when they are taken, and how they are launched.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::reference::{self, LinearOps};
use super::weight::Weight;
use crate::shader::{Bound, Shader, grid, is_software, reads_words, room, suit};

/// Most rows and columns that a workgroup makes.
const TILE: u32 = 64;
/// An output no wider than this is narrow: most of a tile would be empty.
const NARROW: u32 = 32;
/// Rows and columns of a narrow output that a workgroup makes.
const NARROW_TILE: u32 = 8;
/// Invocations of a workgroup where each reads for itself, as `linear_direct.wgsl` has them.
const DIRECT_INVOCATIONS: u32 = 8;
/// Below this many rows or columns a product is mostly reading, and most of a workgroup would be idle.
const LEAST_SIDE: u32 = 8;

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
    rows: u32,
    columns: u32,
    depth: u32,
}

/// A second product, of the depth of a rank, that is added to the first: its operands lie like the first one's.
#[derive(Clone, Debug)]
pub struct Addend {
    pub lhs: CubeTensor,
    pub rhs: CubeTensor,
    pub scale: f32,
}

impl LinearOps for CubeBackend {
    fn linear_forward(x: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        match worth_it(&x, &weight, Orientation::Nt) {
            Some(plan) => product(x, weight, plan, 1.0, None),
            None => reference::linear_forward::<Self>(x, weight),
        }
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: Weight<Self>) -> FloatTensor<Self> {
        match worth_it(&dy, &weight, Orientation::Nn) {
            Some(plan) => product(dy, weight, plan, 1.0, None),
            None => reference::linear_dx::<Self>(dy, weight),
        }
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let x = Weight::Floats(x);
        match worth_it(&dy, &x, Orientation::Tn) {
            Some(plan) => product(dy, x, plan, scale, None),
            None => reference::linear_dw::<Self>(dy, x.floats(), scale),
        }
    }

    fn linear_forward_plus(
        x: FloatTensor<Self>,
        weight: Weight<Self>,
        t: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let addend = Addend { lhs: t, rhs: b, scale };
        match worth_it(&x, &weight, Orientation::Nt).filter(|_| addend.possible(Orientation::Nt)) {
            Some(plan) => product(x, weight, plan, 1.0, Some(addend)),
            None => reference::linear_forward_plus::<Self>(x, weight, addend.lhs, addend.rhs, scale),
        }
    }

    fn linear_dx_plus(
        dy: FloatTensor<Self>,
        weight: Weight<Self>,
        dt: FloatTensor<Self>,
        a: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let addend = Addend { lhs: dt, rhs: a, scale };
        match worth_it(&dy, &weight, Orientation::Nn).filter(|_| addend.possible(Orientation::Nn)) {
            Some(plan) => product(dy, weight, plan, 1.0, Some(addend)),
            None => reference::linear_dx_plus::<Self>(dy, weight, addend.lhs, addend.rhs, scale),
        }
    }
}

impl Addend {
    /// Whether a kernel can make it, of operands that lie so.
    fn possible(&self, orientation: Orientation) -> bool {
        possible(&self.lhs, &Weight::Floats(self.rhs.clone()), orientation).is_some()
    }
}

/// What a product is launched as.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub orientation: Orientation,
    pub size: Size,
    pub reading: Reading,
}

/// How to launch a product that a kernel can make, and makes faster than the engine's own, which would have to unpack what
/// is packed.
fn worth_it(lhs: &CubeTensor, rhs: &Weight<CubeBackend>, orientation: Orientation) -> Option<Plan> {
    let size = possible(lhs, rhs, orientation)?;
    let packed = matches!(rhs, Weight::Packed { .. });
    let worth = packed || size.rows >= LEAST_SIDE && size.columns >= LEAST_SIDE;
    worth.then(|| Plan { orientation, size, reading: Reading::of(lhs, size) })
}

/// The size of a product that a kernel can make on this device.
pub fn possible(lhs: &CubeTensor, rhs: &Weight<CubeBackend>, orientation: Orientation) -> Option<Size> {
    let readable = match rhs {
        Weight::Floats(rhs) => suit([lhs, rhs]),
        Weight::Packed { words, .. } => suit([lhs]) && reads_words(words),
    };
    if !readable {
        return None;
    }
    let size = Size::of(lhs.shape().as_slice(), &rhs.sides(), orientation)?;
    let (most_x, most_y, _) = lhs.client.properties().hardware.max_cube_count;
    let [x, y] = size.squares(NARROW_TILE);
    (x <= most_x && y <= most_y).then_some(size)
}

impl Size {
    /// Of two matrices; `None` if they do not fit together, or one is empty, or the shader could not read them in fours
    /// or reach their ends with its indices.
    fn of(lhs: &[usize], rhs: &[usize], orientation: Orientation) -> Option<Self> {
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

    /// Squares of this side that cover the output, along the columns and along the rows.
    fn squares(self, side: u32) -> [u32; 2] {
        [self.columns, self.rows].map(|of| of.div_ceil(side))
    }

    fn workgroups(self, reading: Reading) -> [u32; 3] {
        let [x, y] = match reading {
            Reading::Tiled => self.squares(TILE),
            Reading::Split => self.squares(NARROW_TILE),
            Reading::Direct { side } => {
                let [across, down] = self.squares(side);
                return grid((across * down).div_ceil(DIRECT_INVOCATIONS));
            }
        };
        [x, y, 1]
    }
}

impl Reading {
    /// What suits this device.
    fn of(tensor: &CubeTensor, size: Size) -> Self {
        match is_software(tensor) {
            true if size.rows.min(size.columns) < 16 => Self::Direct { side: 8 },
            true => Self::Direct { side: 16 },
            false if size.rows.min(size.columns) <= NARROW => Self::Split,
            false => Self::Tiled,
        }
    }
}

/// `scale` times the product, and the addend, by a kernel; the plan's size is what [`possible`] said of the operands.
pub fn product(
    lhs: CubeTensor,
    rhs: Weight<CubeBackend>,
    plan: Plan,
    scale: f32,
    addend: Option<Addend>,
) -> CubeTensor {
    let Plan { orientation, size, reading } = plan;
    let lhs = into_contiguous(lhs);
    let out = room(&lhs, [size.rows as usize, size.columns as usize]);
    let mut numbers = vec![size.rows, size.columns, size.depth, scale.to_bits(), 0, 0, 0, 0];
    let shader = Shader::new("linear", include_str!("../../../../shaders/linear.wgsl"))
        .with("lhs_depth_last", orientation != Orientation::Tn)
        .with("rhs_depth_last", orientation == Orientation::Nt)
        .with("reading", format!("{reading:?}"));
    let shader = match reading {
        Reading::Tiled => shader.and(include_str!("../../../../shaders/linear_tiled.wgsl")),
        Reading::Split => shader.and(include_str!("../../../../shaders/linear_split.wgsl")),
        Reading::Direct { side } => shader
            .and(include_str!("../../../../shaders/linear_direct.wgsl"))
            .with("side", side)
            .unrolled("$r", side / 4)
            .unrolled("$c", side / 4),
    };
    let (shader, rhs) = match rhs {
        Weight::Floats(rhs) => (shader.and(include_str!("../../../../shaders/floats.wgsl")).with("bits", 32), rhs),
        Weight::Packed { words, dtype, .. } => (dtype.read_by(shader), words),
    };
    let rhs = into_contiguous(rhs);
    let bound = [Bound::In(&lhs), Bound::In(&rhs), Bound::Out(&out)];
    let workgroups = size.workgroups(reading);
    match addend {
        None => shader
            .and(include_str!("../../../../shaders/linear_alone.wgsl"))
            .with("size_binding", 3)
            .launch(&bound, &numbers, workgroups),
        Some(Addend { lhs: added_lhs, rhs: added_rhs, scale }) => {
            numbers[4] = added_lhs.shape()[1] as u32;
            numbers[5] = scale.to_bits();
            let added = [added_lhs, added_rhs].map(into_contiguous);
            let added = added.each_ref().map(Bound::In);
            shader.and(include_str!("../../../../shaders/linear_addend.wgsl")).with("size_binding", 5).launch(
                &[&bound[..], &added].concat(),
                &numbers,
                workgroups,
            );
        }
    }
    out
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
        assert_eq!(Size { rows: 65, columns: 64, depth: 1 }.workgroups(Reading::Tiled), [1, 2, 1]);
        let narrow = Size { rows: 65, columns: 8, depth: 1 };
        assert_eq!(narrow.workgroups(Reading::Split), [1, 9, 1]);
        assert_eq!(narrow.workgroups(Reading::Direct { side: 8 }), [2, 1, 1]);
        assert_eq!(narrow.workgroups(Reading::Direct { side: 16 }), [1, 1, 1]);
    }
}
