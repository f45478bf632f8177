//! Products that are wanted together: when the WGSL kernels of `shaders/linear.wgsl` make them, and in how many dispatches.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::dispatch::{Launch, Together};
use super::weight::Weight;
use crate::several::rooms;
use crate::shader::{is_software, reads_words, suit};

/// Most rows and columns that a workgroup makes.
const TILE: u32 = 64;
/// An output no wider than this is narrow: most of a tile would be empty.
const NARROW: u32 = 32;
/// Rows and columns of a narrow output that a workgroup makes.
const NARROW_TILE: u32 = 8;
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
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
}

/// A product, and what it is multiplied by.
#[derive(Clone, Debug)]
pub struct Product {
    pub lhs: CubeTensor,
    pub rhs: Weight<CubeBackend>,
    pub scale: f32,
    pub addend: Option<Addend>,
}

/// A second product, of the depth of a rank, that is added to the first: its operands lie like the first one's.
#[derive(Clone, Debug)]
pub struct Addend {
    pub lhs: CubeTensor,
    pub rhs: CubeTensor,
    pub scale: f32,
}

/// Products that are wanted together, one or more: each by itself, or their sum.
#[derive(Clone, Debug)]
pub struct Products {
    pub orientation: Orientation,
    pub each: Vec<Product>,
    /// Their sizes are the same but for the depth then, and their scales 1.
    pub summed: bool,
    /// What is added to the only output.
    pub onto: Option<CubeTensor>,
}

impl Product {
    /// Of two matrices.
    pub fn new(lhs: CubeTensor, rhs: Weight<CubeBackend>) -> Self {
        Self { lhs, rhs, scale: 1.0, addend: None }
    }

    /// The size, if a kernel can make it on this device.
    fn possible(&self, orientation: Orientation) -> Option<Size> {
        let size = possible(&self.lhs, &self.rhs, orientation)?;
        let addend = |addend: &Addend| {
            let of_addend = possible(&addend.lhs, &Weight::Floats(addend.rhs.clone()), orientation);
            of_addend.is_some_and(|a| (a.rows, a.columns) == (size.rows, size.columns))
        };
        self.addend.as_ref().is_none_or(addend).then_some(size)
    }

    /// Whether a kernel makes it faster than the engine, which would have to unpack what is packed.
    fn worth_it(&self, size: Size) -> bool {
        let packed = matches!(self.rhs, Weight::Packed { .. });
        packed || size.rows >= LEAST_SIDE && size.columns >= LEAST_SIDE
    }

    /// The same of operands whose numbers are in order.
    fn in_order(self) -> Self {
        let rhs = match self.rhs {
            Weight::Floats(rhs) => Weight::Floats(into_contiguous(rhs)),
            Weight::Packed { words, dtype, columns } => {
                Weight::Packed { words: into_contiguous(words), dtype, columns }
            }
        };
        let addend =
            |Addend { lhs, rhs, scale }| Addend { lhs: into_contiguous(lhs), rhs: into_contiguous(rhs), scale };
        Self { lhs: into_contiguous(self.lhs), rhs, scale: self.scale, addend: self.addend.map(addend) }
    }
}

/// The size of a product that a kernel can make on this device.
fn possible(lhs: &CubeTensor, rhs: &Weight<CubeBackend>, orientation: Orientation) -> Option<Size> {
    let readable = match rhs {
        Weight::Floats(rhs) => suit([lhs, rhs]),
        Weight::Packed { words, .. } => suit([lhs]) && reads_words(words),
    };
    if !readable {
        return None;
    }
    Size::of(lhs.shape().as_slice(), &rhs.sides(), orientation)
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
    fn of(tensor: &CubeTensor, sizes: &[Size]) -> Self {
        let all_within = |side: u32| sizes.iter().all(|size| size.is_narrow(side));
        match is_software(tensor) {
            true if all_within(15) => Self::Direct { side: 8 },
            true => Self::Direct { side: 16 },
            false if all_within(NARROW) => Self::Split,
            false => Self::Tiled,
        }
    }
}

impl Products {
    /// One for each of some pairs.
    pub fn new(orientation: Orientation, each: impl IntoIterator<Item = Product>) -> Self {
        Self { orientation, each: each.into_iter().collect(), summed: false, onto: None }
    }

    /// The outputs, or the only one, by kernels; `None` if there are none for this device and these sizes, or the
    /// engine's own products are as good.
    pub fn made(self) -> Option<Vec<CubeTensor>> {
        let sizes = self.sizes()?;
        let worth = self.each.iter().zip(&sizes).any(|(product, size)| product.worth_it(*size));
        let reading = Reading::of(&self.each.first()?.lhs, &sizes);
        worth.then(|| self.launch(reading, &sizes))
    }

    /// Their sizes, if kernels can make all of them.
    pub fn sizes(&self) -> Option<Vec<Size>> {
        let sizes: Vec<Size> =
            self.each.iter().map(|product| product.possible(self.orientation)).collect::<Option<_>>()?;
        let one = self.summed || sizes.len() == 1;
        let fits = |onto: &CubeTensor| {
            let like = |size: &Size| onto.shape().as_slice() == [size.rows as usize, size.columns as usize];
            suit([onto]) && one && sizes.iter().all(like)
        };
        self.onto.as_ref().is_none_or(fits).then_some(sizes)
    }

    /// By one dispatch if all that a binding has lies in one memory, else by one for each product.
    pub fn launch(self, reading: Reading, sizes: &[Size]) -> Vec<CubeTensor> {
        let Self { orientation, each, summed, onto } = self;
        let each: Vec<Product> = each.into_iter().map(Product::in_order).collect();
        let onto = onto.map(into_contiguous);
        let Some(first) = each.first() else { return Vec::new() };
        let outputs = if summed { &sizes[..1] } else { sizes };
        let shapes: Vec<_> = outputs.iter().map(|size| [size.rows as usize, size.columns as usize]).collect();
        if let Some(together) = Together::of(&each) {
            let outs = rooms(&first.lhs, &shapes);
            let launch = Launch { orientation, reading, sizes, summed, onto: onto.as_ref() };
            if launch.dispatch(&each, &together, &outs) {
                return outs;
            }
        }
        let one = |product: Product, size: Size, onto: Option<CubeTensor>| {
            Self { orientation, each: vec![product], summed: false, onto }.launch(reading, &[size])
        };
        let pairs = each.into_iter().zip(sizes);
        if summed {
            return pairs.fold(onto, |sum, (product, size)| one(product, *size, sum).pop()).into_iter().collect();
        }
        pairs.flat_map(|(product, size)| one(product, *size, None)).collect()
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
        let narrow = Size { rows: 65, columns: 8, depth: 1 };
        let makers = [Reading::Tiled, Reading::Split, Reading::Direct { side: 8 }, Reading::Direct { side: 16 }];
        assert_eq!(makers.map(|reading| narrow.makers(reading)), [2, 9, 9, 5]);
    }
}
