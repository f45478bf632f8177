//! A few of a matrix's own weights train.
//!
//! `W' = W + δ`, δ zero but at the chosen indices, where it is the parameter. So nothing outside the indices can move,
//! whatever the optimiser does; moments exist for the indices alone, and weight decay draws δ to zero, that is, the
//! weights to where they were.
//!
//! | method | the indices |
//! |---|---|
//! | PaFi (Liao et al. 2023, arXiv 2305.16742, §3.1) | of least magnitude: no data, no gradient, one choice for all tasks |
//! | random mask | drawn from the seed |
//! | SHiRA (Bhardwaj et al. 2024, arXiv 2406.13175) | drawn from the seed, r (in + out) of them as in PEFT: as many as a LoRA of rank r has |
//! | FISH (Sung et al. 2021, arXiv 2111.09839) | of the largest squared gradients on some rows |
//! | LT-SFT (Ansell et al. 2022, arXiv 2110.07560) | of the largest moves in a first training of everything |
//!
//! Each matrix keeps the same share, where FISH and LT-SFT rank the weights of all matrices together: so each layer has
//! something to train, and IST something to choose. Equal values are taken in the order of the matrix. PaFi's indices
//! follow from the base and are not stored, only two numbers that tell whether they are the same; the others are
//! stored.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use rand::RngExt;
use stratune_kernels::linear;
use stratune_protocol::ModelReport;
use stratune_runtime::read_f32;

use crate::base_layer::AdaptedLayer;
use crate::delta::{DeltaProperties, Effect, Finalized, stays};
use crate::size::at_sites;
use crate::{
    Additions, Delta, ForwardContext, MethodConfig, MethodKind, ModuleId, Named, Param, PeftError, Site, Visitor, show,
};

/// The chosen indices of a matrix, and what is added there.
#[derive(Clone, Debug)]
pub struct Sparse {
    /// Which method chooses.
    pub kind: MethodKind,
    /// The indices, as they are kept in files.
    pub indices: Indices,
    /// δ there: `[kept]`.
    pub values: Param<1>,
    shape: [usize; 2],
}

/// Indices of a matrix, rising.
#[derive(Clone, Debug)]
pub enum Indices {
    /// They follow from the base.
    Known {
        /// In the flattened matrix, `[kept]`.
        flat: Tensor<1, Int>,
        /// What tells them from others, `[2]`.
        check: Param<1>,
    },
    /// They are stored.
    Stored {
        /// `[kept]`. Floats, as all tensors of an adapter are: they are exact up to 16 million rows.
        rows: Param<1>,
        /// `[kept]`.
        columns: Param<1>,
    },
}

impl Indices {
    /// Places in the flattened matrix with so many columns.
    pub(crate) fn flat(&self, width: usize) -> Tensor<1, Int> {
        match self {
            Self::Known { flat, .. } => flat.clone(),
            Self::Stored { rows, columns } => {
                rows.value.clone().int().mul_scalar(width as i64) + columns.value.clone().int()
            }
        }
    }
}

impl Sparse {
    /// What its parameters are called where its indices are stored.
    pub(crate) const STORED: [&'static str; 3] = ["sparse_rows", "sparse_columns", "sparse_values"];

    /// The first indices, nothing added there, until data [`choose`](Self::choose).
    ///
    /// # Errors
    /// The share is less than one weight.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let (share, shape) = (config.share.unwrap_or(0.0), site.shape());
        Ok(Self::first(config.kind, check_share(share, shape)?, shape, &site.device()))
    }

    /// SHiRA's: indices drawn from the site's seed, as many as a LoRA of the rank has numbers.
    ///
    /// # Errors
    /// The rank is 0, or the matrix has fewer weights.
    pub(crate) fn of_rank(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let [outputs, inputs] = site.shape();
        let (rank, _) = config.at(&site.id.path);
        let (entries, weights) = (rank.saturating_mul(outputs + inputs), outputs * inputs);
        match rank {
            0 => Err(PeftError::RankZero),
            _ if entries > weights => Err(PeftError::EntriesAboveMatrix { rank, entries, weights }),
            _ => Ok(Self::first(config.kind, entries, [outputs, inputs], &site.device()).at_random(site)),
        }
    }

    /// PaFi's: the indices of the smallest weights.
    ///
    /// # Errors
    /// The device does not answer.
    pub(crate) async fn at_smallest_magnitudes(self, site: &Site) -> Result<Self, PeftError> {
        let (count, device) = (self.values.value.dims()[0], site.device());
        let weights = read_f32(site.weight.clone()).await.map_err(|e| PeftError::Device(Box::new(e)))?;
        let sizes: Vec<f32> = weights.iter().map(|w| -w.abs()).collect();
        let flat = largest(&sizes, count);
        let check = Param::frozen(Tensor::from_floats(fingerprint(&flat), &device));
        let flat = Tensor::from_data(TensorData::new(flat, [count]), &device);
        Ok(Self { indices: Indices::Known { flat, check }, ..self })
    }

    /// The random mask's: indices drawn from the site's seed.
    pub(crate) fn at_random(mut self, site: &Site) -> Self {
        let mut rng = site.draws("random_mask");
        let lots: Vec<f32> = (0..self.shape[0] * self.shape[1]).map(|_| rng.random()).collect();
        self.choose(&lots);
        self
    }

    /// The first `count` indices, and nothing added there.
    pub(crate) fn first(kind: MethodKind, count: usize, shape: [usize; 2], on: &Device) -> Self {
        let flat: Vec<i32> = (0..count as i32).collect();
        let values = Param::trainable(Tensor::zeros([count], on));
        Self { kind, indices: stored_on(&flat, shape, on), values, shape }
    }

    /// What is largest of a dense update, as the share of it that is kept.
    pub(crate) fn largest_of(update: &[f32], share: f32, shape: [usize; 2], on: &Device) -> Self {
        let sizes: Vec<f32> = update.iter().map(|v| v.abs()).collect();
        let flat = largest(&sizes, kept(share, shape).max(1));
        let values: Vec<f32> = flat.iter().map(|i| update[*i as usize]).collect();
        Self {
            kind: MethodKind::RandomMask,
            indices: stored_on(&flat, shape, on),
            values: Param::trainable(Tensor::from_floats(values.as_slice(), on)),
            shape,
        }
    }

    /// Takes the indices with the highest scores, one score a weight.
    pub fn choose(&mut self, scores: &[f32]) {
        let count = self.values.value.dims()[0];
        let device = self.values.value.device();
        self.indices = stored_on(&largest(scores, count), self.shape, &device);
    }

    /// Places in the flattened matrix, `[kept]`.
    pub fn flat(&self) -> Tensor<1, Int> {
        self.indices.flat(self.shape[1])
    }

    /// The dense update, `[out, in]`.
    fn update(&self) -> Tensor<2> {
        let values = self.values.value.clone();
        let count = self.shape[0] * self.shape[1];
        let flat = Tensor::<1>::zeros([count], &values.device());
        flat.select_assign(0, self.flat(), values, IndexingUpdateOp::Add).reshape(self.shape)
    }
}

/// How many numbers of a matrix a share of it is, rounded.
pub fn kept(share: f32, [out, inputs]: [usize; 2]) -> usize {
    (f64::from(share) * (out * inputs) as f64).round() as usize
}

/// Numbers that train where a share of each matrix does.
pub(crate) fn numbers(method: &MethodConfig, model: &ModelReport) -> u64 {
    at_sites(method, model, |_, shape| kept(method.share.unwrap_or(0.0), shape))
}

/// What is left of a method whose indices data or training have chosen: the same share, at indices that are written
/// down.
pub(crate) fn written_down(method: &MethodConfig) -> MethodConfig {
    MethodConfig {
        layers: method.layers.clone(),
        targets: method.targets.clone(),
        share: method.share,
        ..MethodConfig::new(MethodKind::RandomMask)
    }
}

/// How many weights the share is.
///
/// # Errors
/// Less than one.
pub(crate) fn check_share(share: f32, shape: [usize; 2]) -> Result<usize, PeftError> {
    match kept(share, shape) {
        0 => Err(PeftError::ShareBelowOne { weights: shape[0] * shape[1] }),
        count => Ok(count),
    }
}

pub(crate) fn stored_on(flat: &[i32], [_, columns]: [usize; 2], on: &Device) -> Indices {
    let part = |of: &dyn Fn(i32) -> i32| {
        let values: Vec<f32> = flat.iter().map(|i| of(*i) as f32).collect();
        Param::frozen(Tensor::from_data(TensorData::new(values, [flat.len()]), on))
    };
    let columns = columns as i32;
    Indices::Stored { rows: part(&|i| i / columns), columns: part(&|i| i % columns) }
}

/// Two numbers below 2²⁴, which floats hold exactly: halves of an FNV-1a hash.
fn fingerprint(flat: &[i32]) -> [f32; 2] {
    let hash = flat
        .iter()
        .flat_map(|i| i.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    [(hash & 0xff_ffff) as f32, (hash >> 24 & 0xff_ffff) as f32]
}

/// The indices of the `count` largest values, rising.
pub(crate) fn largest(values: &[f32], count: usize) -> Vec<i32> {
    let mut order: Vec<i32> = (0..values.len() as i32).collect();
    let value = |i: &i32| values[*i as usize];
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    order.truncate(count);
    order.sort_unstable();
    order
}

impl Indices {
    /// Its parameters by the ends of their paths.
    fn parameters(&mut self) -> Named<'_> {
        match self {
            Self::Known { check, .. } => vec![("sparse_check", check.into())],
            Self::Stored { rows, columns } => vec![("sparse_rows", rows.into()), ("sparse_columns", columns.into())],
        }
    }
}

impl Additions for Indices {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        show(self.parameters(), of, visitor);
    }
}

impl Delta for Sparse {
    fn parameters(&mut self) -> Named<'_> {
        let mut all = self.indices.parameters();
        all.push(("sparse_values", (&mut self.values).into()));
        all
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn properties(&self) -> DeltaProperties {
        DeltaProperties { effect: Effect::AddsMatrix, ..DeltaProperties::PLAIN }
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &AdaptedLayer<'_>, context: &ForwardContext) -> Tensor<3> {
        y + linear(x, context.damped(self.update()))
    }

    fn merge(
        &self,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        context: &ForwardContext,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight + context.damped(self.update()), bias)
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn finalized(&self) -> Finalized<'_> {
        stays()
    }

    fn for_original_base(&mut self) {}

    fn dense(&self, context: &ForwardContext) -> Option<Tensor<2>> {
        Some(context.damped(self.update()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_taken_and_the_first_of_equals() {
        let values = [-3.0, -1.0, -0.5, -1.0, -0.5, 0.0, -2.0];
        for (count, want) in [(1, vec![5]), (2, vec![2, 5]), (4, vec![1, 2, 4, 5]), (9, (0..7).collect())] {
            assert_eq!(largest(&values, count), want);
        }
    }

    #[test]
    fn other_places_have_another_fingerprint() {
        assert_eq!(fingerprint(&[1, 2, 3]), fingerprint(&[1, 2, 3]));
        assert_ne!(fingerprint(&[1, 2, 3]), fingerprint(&[1, 2, 4]));
    }
}
