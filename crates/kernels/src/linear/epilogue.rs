//! What the dispatch that makes products does with them before it stores them.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;

use super::size::Size;
use crate::shader::{Shader, empty, fours, suit};
use crate::tensor_list::common_buffer;

/// Blocks of four columns in half a tile of the shader's.
const HALF_A_TILE: u32 = 8;

/// What is done with products where they are made. All but the residual is done by tiles alone, which go through all products
/// where an output is made.
// There is one a dispatch: its size on the stack does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// The only output, or the sum, is added to this.
    Residual(CubeTensor),
    /// The first gates the second, `silu(gate) · up`: a third output, in a buffer of its own.
    Swiglu,
    /// The only one is the gradient of such values, made of these: gate and up, contiguous. The outputs are the gradients
    /// of both, and the values again.
    SwigluBackward(Box<[CubeTensor; 2]>),
    /// Rotary embedding of some of them, as [`CosSin`](crate::CosSin) has it.
    Rotary(Box<Rotary>),
}

/// Pairs within heads, rotated by the angles of their rows' positions.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// Contiguous `[batch or 1, 1, seq, head_dim / 2]`, as are the sines; for one dispatch both must lie in one buffer.
    pub cosines: CubeTensor,
    pub sines: CubeTensor,
    /// How many of the products, from the first.
    pub products: usize,
}

/// The buffer that an epilogue binds beside the products' own.
#[derive(Clone, Debug)]
pub struct Operand {
    pub tensor: CubeTensor,
    /// Whether it is an output, or read.
    pub written: bool,
    /// Where in it each of its parts begins, in fours of numbers.
    pub begins: Vec<u32>,
}

impl Epilogue {
    /// Whether it suits products of these sizes, or their sum.
    pub fn fits(&self, sizes: &[Size], summed: bool) -> bool {
        let of_size = |t: &CubeTensor, size: &Size| suit([t]) && t.shape().num_elements() == size.outputs();
        match self {
            Self::None => true,
            Self::Residual(residual) => {
                let like = |size: &Size| residual.shape().as_slice() == size.output();
                suit([residual]) && (summed || sizes.len() == 1) && sizes.iter().all(like)
            }
            Self::Swiglu => matches!(sizes, [gate, up] if gate == up) && !summed,
            Self::SwigluBackward(gates) => matches!(sizes, [size] if gates.iter().all(|t| of_size(t, size))),
            Self::Rotary(rotary) => rotary.fits(sizes) && !summed,
        }
    }

    /// Whether tiles alone can do it.
    pub fn needs_tiles(&self) -> bool {
        !matches!(self, Self::None | Self::Residual(_))
    }

    /// Whether who makes a place of one product makes that of all of them.
    pub fn joins(&self) -> bool {
        matches!(self, Self::Swiglu)
    }

    /// The shapes of the outputs that lie in one buffer.
    pub fn outputs(&self, sizes: &[Size], summed: bool) -> Vec<[usize; 2]> {
        match (self, sizes) {
            (Self::SwigluBackward(_), [size, ..]) => vec![size.output(); 3],
            (_, [size, ..]) if summed => vec![size.output()],
            _ => sizes.iter().map(Size::output).collect(),
        }
    }

    /// What it binds, none or one; `None` if what it reads does not lie in one buffer.
    pub fn bind(&self, like: &CubeTensor, sizes: &[Size]) -> Option<Vec<Operand>> {
        let read = |parts: &[&CubeTensor]| {
            let (tensor, begins) = common_buffer(parts)?;
            Some(vec![Operand { tensor, written: false, begins: begins.into_iter().map(fours).collect() }])
        };
        match self {
            Self::None => Some(Vec::new()),
            Self::Residual(residual) => {
                Some(vec![Operand { tensor: residual.clone(), written: false, begins: vec![0] }])
            }
            Self::Swiglu => {
                Some(vec![Operand { tensor: empty(like, sizes.first()?.output()), written: true, begins: vec![0] }])
            }
            Self::SwigluBackward(gates) => read(&gates.each_ref()),
            Self::Rotary(rotary) => read(&[&rotary.cosines, &rotary.sines]),
        }
    }

    /// The shader with its lines.
    pub fn lines(&self, shader: Shader) -> Shader {
        let shader = shader
            .unrolled("$with_residual", u32::from(matches!(self, Self::Residual(_))))
            .unrolled("$with_swiglu", u32::from(matches!(self, Self::Swiglu)))
            .unrolled("$with_d_swiglu", u32::from(matches!(self, Self::SwigluBackward(_))))
            .unrolled("$with_rotary", u32::from(matches!(self, Self::Rotary(_))));
        match self {
            Self::Rotary(_) => shader.and(include_str!("../../../../shaders/linear_rotary.wgsl")),
            _ => shader,
        }
    }

    /// What the shader is told of product `i`, from where outputs and its own operand's parts begin: four numbers of a gated
    /// activation, and four of pairs of columns.
    pub fn numbers(&self, i: usize, outputs: &[u32], operand: &[u32]) -> [u32; 8] {
        // Blocks of a tile that lie half a tile apart are no pairs of anything.
        let no_pairs = [HALF_A_TILE, 0, 0, 0];
        let (activation, pairs) = match (self, operand) {
            (Self::Swiglu, _) => ([outputs[0], 0, 0, 0], no_pairs),
            (Self::SwigluBackward(_), [gate, up]) => ([*gate, *up, outputs[1], outputs[2]], no_pairs),
            (Self::Rotary(rotary), [cosines, sines]) if i < rotary.products => {
                ([0; 4], [rotary.half(), rotary.period(), *cosines, *sines])
            }
            _ => ([0; 4], no_pairs),
        };
        let [gate, up, d_up, value] = activation;
        let [half, period, cosines, sines] = pairs;
        [gate, up, d_up, value, half, period, cosines, sines]
    }
}

impl Rotary {
    /// Fours of numbers in half a head.
    fn half(&self) -> u32 {
        (self.cosines.shape()[3] / 4) as u32
    }

    /// Rows after which the angles begin again.
    fn period(&self) -> u32 {
        (self.cosines.shape()[0] * self.cosines.shape()[2]) as u32
    }

    /// If heads are whole fours, and rows whole texts.
    fn fits(&self, sizes: &[Size]) -> bool {
        let half = self.cosines.shape()[3];
        let of_heads = |size: &Size| (size.columns as usize).is_multiple_of(2 * half);
        let of_texts = |size: &Size| size.rows.is_multiple_of(self.period());
        let [cosines, sines] = [&self.cosines, &self.sines];
        let angles = suit([cosines, sines]) && cosines.shape() == sines.shape() && half.is_multiple_of(4);
        angles && sizes.iter().take(self.products).all(of_heads) && sizes.iter().all(of_texts)
    }
}
