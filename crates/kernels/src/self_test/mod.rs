//! Are the answers of this device right?

mod attention;
mod compute;
mod fastfood;
mod finite_differences;
mod fused_ops;
mod host;
mod layers;
mod step;

use burn::tensor::Device;
use stratune_protocol::{ComputeDtype, Problem, ProblemKind};

use crate::{QuantizedDtype, Scores, WeightFormat};
use attention::{Sees, attention_is_right};
use compute::half_precision_multiplies;
pub(crate) use fastfood::fastfood_is_right;
#[cfg(test)]
pub(crate) use fastfood::hadamard;
use finite_differences::gradients_are_finite_differences;
use fused_ops::{Beside, fused_ops_are_right};
#[cfg(test)]
pub(crate) use fused_ops::{attended_by_parts, fed_by_parts};
use layers::{frozen_is_right, gate_is_right, linear_is_right, norm_is_right, rotary_is_right};
use step::{loss_is_right, step_is_right};

/// What a test has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An operation that is wrong, and by how much.
    Wrong(String),
    /// The same of an operation in half precision alone.
    InHalfPrecision(String),
    /// The device does not answer.
    Silent(Problem),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Silent(problem)
    }
}

impl Fault {
    fn in_half_precision(self) -> Self {
        if let Self::Wrong(wrong) = self { Self::InHalfPrecision(wrong) } else { self }
    }

    /// What there is to say of a device that is called so.
    pub fn of(self, device: &str) -> Problem {
        match self {
            Self::Silent(problem) => problem,
            Self::InHalfPrecision(wrong) => {
                Problem::new(ProblemKind::Device, format!("{device} computes wrongly: {wrong}"))
                    .at("compute_dtype")
                    .next("set it to f32")
            }
            Self::Wrong(wrong) => Problem::new(ProblemKind::Device, format!("{device} computes wrongly: {wrong}"))
                .next("update its driver, or use the CPU device"),
        }
    }
}

/// The sizes that operations are tested at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens that the loss is among.
    pub vocabulary: usize,
    /// Positions of a row, more than one.
    pub seq: usize,
    /// Positions of a batch.
    pub positions: usize,
    /// What the matrices of the layers are kept as, what most are first; none if all are floats.
    pub formats: Vec<WeightFormat>,
    /// What products multiply in.
    pub compute: ComputeDtype,
}

/// Small, odd, and beyond a tile.
impl Default for Sizes {
    fn default() -> Self {
        let (heads, kv_heads, head_dim, vocabulary, seq) = (4, 2, 12, 20, 37);
        Self {
            hidden: 48,
            intermediate: 68,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            seq,
            positions: 131,
            formats: Vec::new(),
            compute: ComputeDtype::F32,
        }
    }
}

/// Columns of a narrow product, as that of a low-rank factor.
const NARROW: usize = 8;

/// Numbers of a row that a whole workgroup shares, not all with as many of them.
const BY_A_WORKGROUP: usize = 580;

/// Most numbers of a matrix, and most positions, that are tested: a test must not need memory that its run does not.
const MAX: usize = 1 << 22;
const MAX_POSITIONS: usize = 1 << 12;

/// Compares the operations of a training step on `device` with sums made on the host, values and gradients, at small sizes
/// and at those of a run.
///
/// Some adapters compute nonsense without an error (an invalid shader, a driver's defect, loops that end too soon); a run
/// must never start on one.
///
/// # Errors
/// The first operation that is wrong, or why the device does not answer.
pub async fn self_test(device: &Device, of: &Sizes) -> Result<(), Fault> {
    let Sizes { hidden, intermediate, .. } = *of;
    // Primes are left to burn's own product; for the others there is a kernel of ours, if there is one at all.
    for (rows, inner, out) in [(37, 43, 29), (131, 72, 68), (of.positions.min(MAX_POSITIONS), hidden, NARROW)] {
        linear_is_right(device, rows, inner, out).await?;
    }
    for dtype in [QuantizedDtype::F16, QuantizedDtype::Int8, QuantizedDtype::Int4] {
        frozen_is_right(device, Some(dtype.into()), 72, 68).await?;
    }
    for (inner, out) in [(hidden, intermediate), (intermediate, hidden)] {
        // The whole depth, and as many outputs as may be.
        let out = out.min((MAX / inner).next_multiple_of(4));
        frozen_is_right(device, of.formats.first().copied(), inner, out).await?;
    }
    formats_are_read(device, of.formats.get(1..).unwrap_or_default(), hidden).await?;
    if of.compute != ComputeDtype::F32 {
        half_precision_multiplies(device, of.compute).await.map_err(Fault::in_half_precision)?;
    }
    for width in [BY_A_WORKGROUP, hidden] {
        norm_is_right(device, width).await?;
    }
    gate_is_right(device, intermediate).await?;
    rotary_is_right(device, of.seq, of.head_dim).await?;
    let sees = Sees { begins: 0, window: None, bidirectional: false, scores: Scores::of(of.head_dim) };
    let half = of.seq / 2;
    for sees in [sees, Sees { begins: half, ..sees }, Sees { begins: half, window: Some(half.div_ceil(2)), ..sees }] {
        attention_is_right(device, of, sees).await?;
    }
    // At small sizes: most models have no cap.
    let capped = Sees { begins: 9, window: Some(7), scores: Scores { scale: 0.6, softcap: Some(0.8) }, ..sees };
    attention_is_right(device, &Sizes::default(), capped).await?;
    attention_is_right(device, &Sizes::default(), Sees { begins: 9, bidirectional: true, ..sees }).await?;
    fused_ops_are_right(device, of, Beside::Updates).await?;
    // At small sizes: most runs have no biases, most models no norms of heads.
    fused_ops_are_right(device, &Sizes::default(), Beside::Biases).await?;
    fused_ops_are_right(device, &Sizes { head_dim: 16, ..Sizes::default() }, Beside::Norms).await?;
    gradients_are_finite_differences(device).await?;
    fastfood_is_right(device, 1 << 13, 1000, 5000).await?;
    loss_is_right(device, of.vocabulary).await?;
    step_is_right(device, NARROW * hidden + 6).await
}

/// Compares products with matrices that are kept so, of about so many columns, with sums made on the host.
///
/// # Errors
/// The first that is wrong, or why the device does not answer.
pub async fn formats_are_read(device: &Device, formats: &[WeightFormat], columns: usize) -> Result<(), Fault> {
    for format in formats {
        frozen_is_right(device, Some(*format), columns, 68).await?;
    }
    Ok(())
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::tensor::Tensor;

    use super::host::check;
    use super::*;
    use crate::BlockFormat;

    /// Of a model of 135 M, in two rows.
    fn real(formats: Vec<WeightFormat>) -> Sizes {
        Sizes {
            hidden: 576,
            intermediate: 1536,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocabulary: 49_152,
            seq: 200,
            positions: 400,
            formats,
            compute: ComputeDtype::F32,
        }
    }

    fn all() -> [Sizes; 3] {
        let mixed = [BlockFormat::Q4_1, BlockFormat::Q6K, BlockFormat::Q8_0].map(WeightFormat::from);
        [Sizes::default(), real(vec![QuantizedDtype::Int4.into()]), real(mixed.to_vec())]
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn a_graphics_adapter_passes() {
        let Some(device) = crate::testing::wgpu() else { return };
        for of in all() {
            assert_eq!(stratune_runtime::block_on(self_test(&device, &of)), Ok(()), "{of:?}");
        }
    }

    #[test]
    fn the_cpu_passes_and_a_wrong_answer_does_not() {
        let device = Device::flex();
        stratune_runtime::block_on(async {
            for of in all() {
                assert_eq!(self_test(&device, &of).await, Ok(()), "{of:?}");
            }
            let zeros = Tensor::<3>::zeros([1, 1, 3], &device);
            assert!(check("zeros", zeros, &[0.0, 0.0, 1.0]).await.is_err());
            let nan = Tensor::<3>::full([1, 1, 1], f32::NAN, &device);
            assert!(check("nan", nan, &[0.0]).await.is_err());
        });
    }
}
