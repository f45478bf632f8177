//! The WGSL kernels of `shaders/linear.wgsl`: when they are taken, and how they are launched.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, cubecl};
use cubecl::ir::attributes::BufferIOAttr;
use cubecl::prelude::{CubeCount, CubeDim, KernelId};
use cubecl::server::{KernelArguments, MetadataBindingInfo};

use super::reference::{self, LinearOps};

/// Rows and columns that a workgroup makes; the same number as in the shader.
const TILE: u32 = 64;
/// Invocations of a workgroup; the same number as in the shader.
const INVOCATIONS: u32 = 64;
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
    /// Each invocation by itself, for a software adapter.
    Direct,
}

/// The sides of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    rows: u32,
    columns: u32,
    depth: u32,
}

impl LinearOps for CubeBackend {
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match worth_it(&x, &weight, Orientation::Nt) {
            Some((size, reading)) => product(x, weight, Orientation::Nt, size, reading),
            None => reference::linear_forward::<Self>(x, weight),
        }
    }

    fn linear_dx(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match worth_it(&dy, &weight, Orientation::Nn) {
            Some((size, reading)) => product(dy, weight, Orientation::Nn, size, reading),
            None => reference::linear_dx::<Self>(dy, weight),
        }
    }

    fn linear_dw(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        match worth_it(&dy, &x, Orientation::Tn) {
            Some((size, reading)) => product(dy, x, Orientation::Tn, size, reading),
            None => reference::linear_dw::<Self>(dy, x),
        }
    }
}

/// How to launch a product that a kernel can make, and makes faster than the engine's own.
fn worth_it(lhs: &CubeTensor, rhs: &CubeTensor, orientation: Orientation) -> Option<(Size, Reading)> {
    let size = possible(lhs, rhs, orientation)?;
    (size.rows >= LEAST_SIDE && size.columns >= LEAST_SIDE).then(|| (size, Reading::of(lhs)))
}

/// The size of a product that a kernel can make on this device.
pub fn possible(lhs: &CubeTensor, rhs: &CubeTensor, orientation: Orientation) -> Option<Size> {
    // The same backend serves CUDA, and wgpu devices that compile another language.
    if lhs.client.name() != "wgpu<wgsl>" || lhs.dtype != DType::F32 || rhs.dtype != DType::F32 {
        return None;
    }
    let size = Size::of(lhs.shape().as_slice(), rhs.shape().as_slice(), orientation)?;
    let (most_x, most_y, _) = lhs.client.properties().hardware.max_cube_count;
    let (x, y) = size.workgroups();
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

    /// How many there are along the columns, and along the rows.
    fn workgroups(self) -> (u32, u32) {
        (self.columns.div_ceil(TILE), self.rows.div_ceil(TILE))
    }
}

impl Reading {
    /// What suits this device. A software adapter is no card; one that hides in a browser is served like a GPU.
    fn of(tensor: &CubeTensor) -> Self {
        match tensor.client.properties().identity.physical {
            Some(_) => Self::Tiled,
            None => Self::Direct,
        }
    }
}

/// The product by a kernel; `size` is what [`possible`] said of these operands.
pub fn product(lhs: CubeTensor, rhs: CubeTensor, orientation: Orientation, size: Size, reading: Reading) -> CubeTensor {
    let lhs = into_contiguous(lhs);
    let rhs = into_contiguous(rhs);
    let client = lhs.client.clone();
    let shape = [size.rows as usize, size.columns as usize].into();
    let out = empty_device_contiguous_dtype(client.clone(), lhs.device.clone(), shape, DType::F32);
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let arguments = KernelArguments::new()
        .with_buffer_io(lhs.handle.binding(), BufferIOAttr::ReadOnly)
        .with_buffer_io(rhs.handle.binding(), BufferIOAttr::ReadOnly)
        .with_buffer_io(out.handle.clone().binding(), BufferIOAttr::WriteOnly)
        .with_info(MetadataBindingInfo::custom(vec![pair(size.rows, size.columns), pair(size.depth, 0)]));
    let kernel = SourceKernel::new(Source { orientation, reading }, CubeDim::new_1d(INVOCATIONS));
    let (x, y) = size.workgroups();
    client.launch(Box::new(kernel), CubeCount::Static(x, y, 1), arguments);
    out
}

/// The shader; each orientation and each way of reading is a pipeline.
struct Source {
    orientation: Orientation,
    reading: Reading,
}

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        let lhs_depth_last = self.orientation != Orientation::Tn;
        let rhs_depth_last = self.orientation == Orientation::Nt;
        // Natively tensors share buffers, and a buffer cannot be bound for reading and for writing at once. In a
        // browser each has its own, and one that is bound twice, as in `x xᵀ`, may not be bound for writing.
        let input_access = if cfg!(target_family = "wasm") { "read" } else { "read_write" };
        let main = match self.reading {
            Reading::Tiled => include_str!("../../../../shaders/linear_tiled.wgsl"),
            Reading::Direct => include_str!("../../../../shaders/linear_direct.wgsl"),
        };
        SourceTemplate::new(include_str!("../../../../shaders/linear.wgsl"))
            .add_template(main)
            .register("lhs_depth_last", lhs_depth_last.to_string())
            .register("rhs_depth_last", rhs_depth_last.to_string())
            .register("input_access", input_access)
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.orientation, self.reading))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
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
        assert_eq!(Size { rows: 65, columns: 64, depth: 1 }.workgroups(), (1, 2));
    }
}
