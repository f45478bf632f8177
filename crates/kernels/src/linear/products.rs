//! Products that are wanted together: when the WGSL kernels of `shaders/linear.wgsl` make them, and in how many dispatches.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::bind::Bindings;
use super::encode;
use super::epilogue::Epilogue;
use super::plan::Plan;
use super::size::{Orientation, Reading, Size};
use super::weight::Weight;
use crate::compute::Half;
use crate::shader::{grid, reads_words, suit};

/// Below this many rows or columns a product is mostly reading, and most of a workgroup would be idle.
const MIN_SIDE: u32 = 8;

/// A product, and what it is multiplied by.
#[derive(Clone, Debug)]
pub struct Product {
    pub lhs: CubeTensor,
    pub rhs: Weight<CubeBackend>,
    pub scale: f32,
    pub update: Option<LowRank>,
    /// What is added to each row, one number for each column.
    pub bias: Option<CubeTensor>,
}

/// `scale · (lhs down') up'`, which is added to a product of that lhs; both lie like its rhs.
#[derive(Clone, Debug)]
pub struct LowRank {
    pub down: CubeTensor,
    pub up: CubeTensor,
    pub scale: f32,
}

/// What products have made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The outputs, or the only one, and what else their [`Epilogue`] gives.
    pub outputs: Vec<CubeTensor>,
    /// Of each product that has an update `lhs down'`, `[rows, rank]`.
    pub low: Vec<CubeTensor>,
}

/// Products that are wanted together, one or more: each by itself, or their sum.
#[derive(Clone, Debug)]
pub struct Products {
    pub orientation: Orientation,
    pub each: Vec<Product>,
    /// Their sizes are the same but for the depth then, and their scales 1.
    pub summed: bool,
    pub epilogue: Epilogue,
    /// What they multiply in tiles, if all of them may; else f32.
    pub half: Option<Half>,
}

impl Product {
    /// Of two matrices.
    pub fn new(lhs: CubeTensor, rhs: Weight<CubeBackend>) -> Self {
        Self { lhs, rhs, scale: 1.0, update: None, bias: None }
    }

    /// The size, if a kernel can make it on this device.
    fn possible(&self, orientation: Orientation) -> Option<Size> {
        let size = possible(&self.lhs, &self.rhs, orientation)?;
        if self.update.is_some() && orientation == Orientation::Tn {
            return None;
        }
        let update = |LowRank { down, up, .. }: &LowRank| {
            let low = possible(&self.lhs, &Weight::Floats(down.clone()), orientation);
            let rank = low.map_or(0, |low| low.columns as usize);
            let columns = size.columns as usize;
            let fits = if orientation == Orientation::Nt { [columns, rank] } else { [rank, columns] };
            low.is_some() && suit([up]) && up.shape().as_slice() == fits
        };
        let bias = |bias: &CubeTensor| suit([bias]) && bias.shape().as_slice() == [size.columns as usize];
        (self.update.as_ref().is_none_or(update) && self.bias.as_ref().is_none_or(bias)).then_some(size)
    }

    /// Whether a kernel makes it faster than burn, which would have to dequantize what is quantized.
    fn worth_it(&self, size: Size) -> bool {
        let quantized = matches!(self.rhs, Weight::Quantized { .. });
        quantized || size.rows >= MIN_SIDE && size.columns >= MIN_SIDE
    }

    /// The same of operands whose numbers are in order.
    fn in_order(self) -> Self {
        let rhs = match self.rhs {
            Weight::Floats(rhs) => Weight::Floats(into_contiguous(rhs)),
            Weight::Quantized { words, format, columns } => {
                Weight::Quantized { words: into_contiguous(words), format, columns }
            }
        };
        let update =
            |LowRank { down, up, scale }| LowRank { down: into_contiguous(down), up: into_contiguous(up), scale };
        Self {
            lhs: into_contiguous(self.lhs),
            rhs,
            scale: self.scale,
            update: self.update.map(update),
            bias: self.bias.map(into_contiguous),
        }
    }
}

/// The size of a product that a kernel can make on this device.
fn possible(lhs: &CubeTensor, rhs: &Weight<CubeBackend>, orientation: Orientation) -> Option<Size> {
    let readable = match rhs {
        Weight::Floats(rhs) => suit([lhs, rhs]),
        Weight::Quantized { words, .. } => suit([lhs]) && reads_words(words),
    };
    if !readable {
        return None;
    }
    Size::of(lhs.shape().as_slice(), &rhs.sides(), orientation)
}

impl Products {
    /// One for each of some pairs.
    pub fn new(orientation: Orientation, each: impl IntoIterator<Item = Product>) -> Self {
        let each = each.into_iter().collect();
        Self { orientation, each, summed: false, epilogue: Epilogue::None, half: None }
    }

    /// By kernels; `None` if there are none for this device and these sizes, or burn's own products are as good.
    pub fn made(self) -> Option<Made> {
        let (sizes, reading) = self.worth_it()?;
        Some(self.launch(reading, &sizes))
    }

    /// Their sizes, if kernels can make all of them.
    pub fn sizes(&self) -> Option<Vec<Size>> {
        let sizes: Vec<Size> =
            self.each.iter().map(|product| product.possible(self.orientation)).collect::<Option<_>>()?;
        self.epilogue.fits(&sizes, self.summed).then_some(sizes)
    }

    /// The same in one dispatch, with an epilogue that needs one; `None` if that cannot be, or is not worth it.
    pub fn fused(self) -> Option<Made> {
        let (sizes, reading) = self.worth_it()?;
        self.in_order().at_once(reading, &sizes)
    }

    /// Their sizes and how they are read, if kernels can make all of them and there is one that they make faster.
    fn worth_it(&self) -> Option<(Vec<Size>, Reading)> {
        let sizes = self.sizes()?;
        let worth = self.each.iter().zip(&sizes).any(|(product, size)| product.worth_it(*size));
        let reading = Reading::of(&self.each.first()?.lhs, &sizes);
        worth.then_some((sizes, reading))
    }

    /// Of operands whose numbers are in order.
    pub fn in_order(mut self) -> Self {
        self.each = self.each.into_iter().map(Product::in_order).collect();
        if let Epilogue::Residual(residual) = self.epilogue {
            self.epilogue = Epilogue::Residual(into_contiguous(residual));
        }
        self
    }

    /// By one dispatch if all that a binding has lies in one buffer, else by one for each product. What updates have in
    /// the middle is made along, or by a dispatch before.
    pub fn launch(self, reading: Reading, sizes: &[Size]) -> Made {
        debug_assert!(!self.epilogue.needs_tiles(), "products that are made one by one have no such epilogue");
        let products = self.in_order();
        if let Some(made) = products.at_once(reading, sizes) {
            return made;
        }
        let Self { orientation, each, summed, epilogue, half } = products;
        let mut residual = if let Epilogue::Residual(residual) = epilogue { Some(residual) } else { None };
        let mut whole = Made { outputs: Vec::new(), low: Vec::new() };
        for (product, size) in each.into_iter().zip(sizes) {
            let epilogue = residual.take().map_or(Epilogue::None, Epilogue::Residual);
            let one = Self { epilogue, half, ..Self::new(orientation, [product]) };
            let Made { mut outputs, low } = one.launch(reading, &[*size]);
            whole.low.extend(low);
            match summed {
                true => residual = outputs.pop(),
                false => whole.outputs.extend(outputs),
            }
        }
        whole.outputs.extend(residual);
        whole
    }

    /// By one dispatch, of operands in order; one product by itself always can be.
    pub fn at_once(&self, reading: Reading, sizes: &[Size]) -> Option<Made> {
        let Self { orientation, each, summed, epilogue, half } = self;
        let plan =
            Plan::new((*orientation, reading), sizes, low_sizes(each, sizes).collect(), *summed, epilogue, *half)?;
        let bindings = Bindings::of(&plan, each, |low| made_before(*orientation, each, low))?;
        let (bound, slots) = bindings.list();
        let (shader, numbers) =
            (encode::shader(&plan, each, &bindings, &slots), encode::numbers(&plan, each, &bindings));
        let (_, workgroups) = plan.makers();
        shader.launch(&bound, &numbers, grid(workgroups));
        drop(bound);
        let Bindings { mut outputs, low, epilogue, .. } = bindings;
        outputs.extend(epilogue.into_iter().filter(|operand| operand.written).map(|operand| operand.tensor));
        Some(Made { outputs, low })
    }
}

/// The sizes of what the updates of products have in the middle.
fn low_sizes<'a>(each: &'a [Product], sizes: &'a [Size]) -> impl Iterator<Item = Size> + 'a {
    let low = |(product, size): (&Product, &Size)| {
        let update = product.update.as_ref()?;
        // Lhs, down and up are of depth, rank and columns: what down and up share is the rank.
        let rank = update.down.shape().num_elements() / size.depth as usize;
        Some(Size { columns: rank as u32, ..*size })
    };
    each.iter().zip(sizes).filter_map(low)
}

/// What is low, by itself, of these sizes.
fn made_before(orientation: Orientation, each: &[Product], sizes: &[Size]) -> Vec<CubeTensor> {
    let down = |product: &Product| {
        let update = product.update.as_ref()?;
        Some(Product::new(product.lhs.clone(), Weight::Floats(update.down.clone())))
    };
    let Some(first) = each.first().filter(|_| !sizes.is_empty()) else { return Vec::new() };
    let reading = Reading::of(&first.lhs, sizes);
    Products::new(orientation, each.iter().filter_map(down)).launch(reading, sizes).outputs
}
