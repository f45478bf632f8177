//! Adapters: a small network beside or after a part of a block.
//!
//! `a(h) = s · (U f(D h + b_D) + b_U)`, D random, U and the biases zero, so that a new one changes nothing.
//!
//! Where they are, and how D and U are written, is the method's.
//!
//! f is GELU where the matrices are Kronecker products, and ReLU elsewhere. Norms and head stay frozen here: list
//! `layer_norm` beside it to train the norms too.

use burn::tensor::activation::{gelu_approximate, relu};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use stratune_kernels::linear;
use stratune_protocol::{ModelReport, draws, normals};

use crate::site::{kaiming, uniform};
use crate::sparse::{Indices, check_share, largest, stored_on};
use crate::{Additions, ForwardContext, Gate, MethodConfig, ModuleId, Param, PeftError, Shared, Visitor, gate};

/// Where in its block a bottleneck is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterPlacement {
    /// After the attention.
    AfterAttention,
    /// After the feed-forward.
    AfterMlp,
    /// Beside the feed-forward.
    BesideMlp,
}

impl AdapterPlacement {
    /// Its name, in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::AfterAttention => "after_attention",
            Self::AfterMlp => "after_mlp",
            Self::BesideMlp => "beside_mlp",
        }
    }
}

/// How the matrices of a method are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// As they are.
    Dense,
    /// As sums of Kronecker products, whose one factor all layers share.
    Kronecker,
    /// With a share of their entries.
    Sparse,
}

/// Kronecker products in a matrix, n.
pub(crate) const COMPACTER_TERMS: usize = 4;

/// Numbers that train with one bottleneck a block.
pub(crate) fn numbers(method: &MethodConfig, model: &ModelReport) -> u64 {
    let (layers, d) = (method.layer_count(model.layers) as u64, model.hidden_size as u64);
    let bottleneck = (2 * d + 1).saturating_mul(method.width.unwrap_or(0) as u64).saturating_add(d);
    layers * (bottleneck + gate::numbers(method, model.hidden_size) as u64)
}

/// A small network in a block.
#[derive(Clone, Debug)]
pub struct Bottleneck {
    /// Where.
    pub place: AdapterPlacement,
    /// D, `[width, hidden]`.
    pub down: Matrix,
    /// `[width]`.
    pub down_bias: Param<1>,
    /// U, `[hidden, width]`.
    pub up: Matrix,
    /// `[hidden]`.
    pub up_bias: Param<1>,
    /// s.
    pub scale: f32,
    /// Decides for each token how much is added.
    pub gate: Option<Gate>,
}

/// How a matrix of a bottleneck is written.
#[derive(Clone, Debug)]
// A model holds few of them, and each is used at every step: a pointer would buy nothing.
#[allow(clippy::large_enum_variant)]
pub enum Matrix {
    /// As it is, `[out, in]`.
    Dense(Param<2>),
    /// Compacter's: with the shared Aᵢ, `[n, n, n]`, the sum of the Kronecker products `Aᵢ ⊗ (sᵢ tᵢᵀ)`.
    Kronecker {
        /// s, `[n, out / n]`.
        left: Param<2>,
        /// t, `[n, in / n]`.
        right: Param<2>,
    },
    /// Zero but at the kept indices.
    Sparse {
        /// Where, `[kept]`.
        indices: Indices,
        /// What is there, `[kept]`.
        values: Param<1>,
        /// `[out, in]`.
        shape: [usize; 2],
    },
}

impl Matrix {
    /// `[out, in]`.
    fn value(&self, shared: &Shared) -> Tensor<2> {
        match self {
            Self::Dense(param) => param.value.clone(),
            Self::Kronecker { left, right } => {
                let [n, rows] = left.value.dims();
                let columns = right.value.dims()[1];
                let Some(rules) = &shared.compacter else {
                    // Only a model taken apart by hand lacks the shared factors; without them there is no update.
                    return Tensor::zeros([n * rows, n * columns], &left.value.device());
                };
                // (Aᵢ ⊗ sᵢtᵢᵀ)[a·rows + p, b·columns + q] = Aᵢ[a, b] · sᵢ[p] · tᵢ[q]
                let outer = left.value.clone().unsqueeze_dim::<3>(2) * right.value.clone().unsqueeze_dim::<3>(1);
                let rules = rules.value.clone().reshape([n, n * n]).transpose();
                let sum = rules.matmul(outer.reshape([n, rows * columns]));
                sum.reshape([n, n, rows, columns]).swap_dims(1, 2).reshape([n * rows, n * columns])
            }
            Self::Sparse { indices, values, shape } => {
                let [rows, columns] = *shape;
                let flat = Tensor::<1>::zeros([rows * columns], &values.value.device());
                let at = indices.flat(columns);
                flat.select_assign(0, at, values.value.clone(), burn::tensor::IndexingUpdateOp::Add)
                    .reshape([rows, columns])
            }
        }
    }
}

impl Bottleneck {
    /// A new one that changes nothing yet, for a block of a model `hidden` wide.
    ///
    /// # Errors
    /// The width does not fit.
    pub fn new(
        config: &MethodConfig,
        (place, written): (AdapterPlacement, Written),
        hidden: usize,
        (seed, block): (u64, usize),
        device: &Device,
    ) -> Result<Self, PeftError> {
        let width = config.width.unwrap_or(0);
        if width == 0 {
            return Err(PeftError::WidthZero);
        }
        let mut rng = draws(seed, place.name(), [block as u64, 0]);
        let zeros = |shape: [usize; 2]| Tensor::zeros(shape, device);
        let (down, up) = match written {
            Written::Kronecker => kronecker([width, hidden], &mut rng, device)?,
            Written::Sparse => {
                let start = uniform(&mut rng, [width, hidden], kaiming(hidden), device);
                (
                    sparse(start, config.share.unwrap_or(0.0))?,
                    sparse(zeros([hidden, width]), config.share.unwrap_or(0.0))?,
                )
            }
            Written::Dense => (
                Matrix::Dense(Param::trainable(uniform(&mut rng, [width, hidden], kaiming(hidden), device))),
                Matrix::Dense(Param::trainable(zeros([hidden, width]))),
            ),
        };
        let gated = config.gated == Some(true);
        Ok(Self {
            place,
            down,
            down_bias: Param::trainable(Tensor::zeros([width], device)),
            up,
            up_bias: Param::trainable(Tensor::zeros([hidden], device)),
            scale: config.scale.unwrap_or(1.0),
            gate: gated.then(|| Gate::new(hidden, &mut draws(seed, "gate", [block as u64, 64 + place as u64]), device)),
        })
    }

    /// What it adds.
    ///
    /// # Shapes
    /// - `h`, output: `[batch, seq, hidden]`
    pub fn forward(&self, h: Tensor<3>, context: &ForwardContext) -> Tensor<3> {
        let open = self.gate.as_ref().map(|gate| gate.open(h.clone()));
        let narrow = linear(h, self.down.value(&context.shared)) + self.down_bias.value.clone().unsqueeze();
        let narrow = match self.down {
            Matrix::Kronecker { .. } => gelu_approximate(narrow),
            Matrix::Dense(_) | Matrix::Sparse { .. } => relu(narrow),
        };
        let wide = linear(narrow, self.up.value(&context.shared)) + self.up_bias.value.clone().unsqueeze();
        let wide = wide.mul_scalar(self.scale * context.damping);
        match open {
            None => wide,
            Some(open) => wide * open,
        }
    }

    /// Whether it is SparseAdapter's.
    pub fn is_sparse(&self) -> bool {
        matches!(self.down, Matrix::Sparse { .. })
    }

    /// SparseAdapter's matrices as they are scored, whole: D as it is drawn, U normal with a deviation of 0.01, because
    /// at its zero start nothing could be told about D.
    pub fn whole(&self, (seed, block): (u64, usize)) -> Self {
        let mut whole = self.clone();
        let [hidden, width] = [self.up_bias.value.dims()[0], self.down_bias.value.dims()[0]];
        let device = self.up_bias.value.device();
        let mut rng = draws(seed, self.place.name(), [block as u64, 0]);
        whole.down = Matrix::Dense(Param::trainable(uniform(&mut rng, [width, hidden], kaiming(hidden), &device)));
        let up = normals(&mut draws(seed, "sparse_adapter_up", [block as u64, 0]), hidden * width, 0.01);
        whole.up = Matrix::Dense(Param::trainable(Tensor::from_data(TensorData::new(up, [hidden, width]), &device)));
        whole
    }

    /// Keeps of `whole` the indices with the highest scores, one score a weight of D and of U; U starts at zero there.
    pub fn choose(&mut self, down: (&[f32], &[f32]), up: &[f32]) {
        for (matrix, scores, start) in [(&mut self.down, down.1, Some(down.0)), (&mut self.up, up, None)] {
            let Matrix::Sparse { indices, values, shape } = matrix else { continue };
            let device = values.value.device();
            let flat = largest(scores, values.value.dims()[0]);
            let kept: Vec<f32> = flat.iter().map(|i| start.map_or(0.0, |s| s[*i as usize])).collect();
            *indices = stored_on(&flat, *shape, &device);
            values.value = Tensor::from_floats(kept.as_slice(), &device);
        }
    }
}

/// D and U of Compacter; U's left factors are zero. Right factors as Glorot has them.
fn kronecker(
    [width, hidden]: [usize; 2],
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Result<(Matrix, Matrix), PeftError> {
    let n = COMPACTER_TERMS;
    if !width.is_multiple_of(n) || !hidden.is_multiple_of(n) {
        return Err(PeftError::NotInTerms { width, hidden, terms: n });
    }
    let mut glorot = |size: usize| {
        let bound = (6.0 / (1 + size / n) as f32).sqrt();
        uniform(rng, [n, size / n], bound, device)
    };
    let down = Matrix::Kronecker { left: Param::trainable(glorot(width)), right: Param::trainable(glorot(hidden)) };
    let up = Matrix::Kronecker {
        left: Param::trainable(Tensor::zeros([n, hidden / n], device)),
        right: Param::trainable(glorot(width)),
    };
    Ok((down, up))
}

/// The Aᵢ of Compacter, `[n, n, n]`: normal with the deviation 0.01.
pub(crate) fn compacter_rules(seed: u64, device: &Device) -> Param<3> {
    let n = COMPACTER_TERMS;
    let values = normals(&mut draws(seed, "compacter", [0, 0]), n * n * n, 0.01);
    Param::trainable(Tensor::from_data(TensorData::new(values, [n, n, n]), device))
}

/// A matrix of which a share is kept; until it is chosen, the first entries.
fn sparse(start: Tensor<2>, share: f32) -> Result<Matrix, PeftError> {
    let (shape, device) = (start.dims(), start.device());
    let count = check_share(share, shape)?;
    let flat: Vec<i32> = (0..count as i32).collect();
    let values = start.reshape([shape[0] * shape[1]]).narrow(0, 0, count);
    Ok(Matrix::Sparse { indices: stored_on(&flat, shape, &device), values: Param::trainable(values), shape })
}

impl Matrix {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        match self {
            Self::Dense(param) => visitor.visit(&of.param("weight"), param),
            Self::Kronecker { left, right } => {
                visitor.visit(&of.param("left"), left);
                visitor.visit(&of.param("right"), right);
            }
            Self::Sparse { indices, values, .. } => {
                indices.each(of, visitor);
                visitor.visit(&of.param("sparse_values"), values);
            }
        }
    }
}

impl Additions for Bottleneck {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        let of = &of.within(&format!("adapters.{}", self.place.name()));
        self.down.each(&of.within("down"), visitor);
        visitor.visit(&of.param("down.bias"), &mut self.down_bias);
        self.up.each(&of.within("up"), visitor);
        visitor.visit(&of.param("up.bias"), &mut self.up_bias);
        if let Some(gate) = &mut self.gate {
            gate.each(of, visitor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entry by entry from the definition.
    #[test]
    fn compacters_matrix_is_the_sum_of_kronecker_products() {
        let device = Device::flex();
        let (n, rows, columns) = (4, 2, 3);
        let random = |what: &str, count: usize| normals(&mut draws(5, what, [0, 0]), count, 1.0);
        let (rules, left, right) = (random("A", n * n * n), random("s", n * rows), random("t", n * columns));
        let matrix = |values: &[f32], shape: [usize; 2]| {
            Param::trainable(Tensor::from_data(TensorData::new(values.to_vec(), shape), &device))
        };
        let rule = Tensor::from_data(TensorData::new(rules.clone(), [n, n, n]), &device);
        let shared = Shared { compacter: Some(Param::trainable(rule)), ..Shared::default() };
        let made = Matrix::Kronecker { left: matrix(&left, [n, rows]), right: matrix(&right, [n, columns]) };
        let got = made.value(&shared).into_data().try_to_vec::<f32>().unwrap_or_default();
        for (at, got) in got.iter().enumerate() {
            let (r, c) = (at / (n * columns), at % (n * columns));
            let (a, p, b, q) = (r / rows, r % rows, c / columns, c % columns);
            let want: f32 =
                (0..n).map(|i| rules[i * n * n + a * n + b] * left[i * rows + p] * right[i * columns + q]).sum();
            assert!((got - want).abs() < 1e-5, "{r}, {c}: {got} {want}");
        }
    }
}
