//! What a stack of blocks adds to its scores by how far a key is from a query (Raffel et al. 2020, arXiv 1910.10683).

use std::ops::Range;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use stratune_peft::{ModuleId, Param, Parameters, Visitor};

/// A number for each head and each bucket of distances: short distances have buckets of their own, longer ones share them,
/// each wider than the one before.
#[derive(Clone, Debug)]
pub struct RelativeBias {
    /// Which module it is.
    pub id: ModuleId,
    /// `[buckets, heads]`.
    pub table: Param<2>,
    /// Whether keys behind a query have buckets of their own, half of all; else they are not seen.
    pub bidirectional: bool,
    /// The distance from which on all share a bucket.
    pub distance: usize,
}

impl RelativeBias {
    /// What is added to the scores of `queries` with `keys` keys from the first position.
    ///
    /// # Shapes
    /// - output: `[1, heads, queries, keys]`
    pub fn forward(&self, queries: Range<usize>, keys: usize) -> Tensor<4> {
        let [_, heads] = self.table.value.dims();
        let device = self.table.value.device();
        let count = queries.len();
        let rows = self.table.value.clone().select(0, self.buckets(queries.clone(), keys, &device));
        let bias = rows.reshape([1, count, keys, heads]).permute([0, 3, 1, 2]);
        if self.bidirectional || count == 1 {
            return bias;
        }
        let hidden = |query: usize| (0..keys).map(move |key| if key > query { -1e30_f32 } else { 0.0 });
        let hidden: Vec<f32> = queries.flat_map(hidden).collect();
        bias + Tensor::from_data(TensorData::new(hidden, [1, 1, count, keys]), &device)
    }

    /// The gradient of the table, of that of what [`forward`](Self::forward) gave of queries from the first.
    ///
    /// # Shapes
    /// - `d_bias`: `[rows, heads, queries, keys]`
    pub fn gradient(&self, d_bias: Tensor<4>) -> Tensor<2> {
        let [_, heads, count, keys] = d_bias.dims();
        let device = self.table.value.device();
        let d_rows = d_bias.sum_dim(0).permute([0, 2, 3, 1]).reshape([count * keys, heads]);
        let buckets = self.buckets(0..count, keys, &device);
        self.table.value.zeros_like().select_assign(0, buckets, d_rows, IndexingUpdateOp::Add)
    }

    /// The bucket of each query and key, `[queries · keys]`.
    fn buckets(&self, queries: Range<usize>, keys: usize, device: &Device) -> Tensor<1, Int> {
        let of_query = |query: usize| (0..keys).map(move |key| self.bucket(query, key) as i32);
        let buckets: Vec<i32> = queries.flat_map(of_query).collect();
        Tensor::from_data(TensorData::new(buckets.clone(), [buckets.len()]), device)
    }

    fn bucket(&self, query: usize, key: usize) -> usize {
        let all = self.table.value.dims()[0];
        let (count, first) = match self.bidirectional {
            false => (all, 0),
            true => (all / 2, if key > query { all / 2 } else { 0 }),
        };
        let away = if self.bidirectional { query.abs_diff(key) } else { query.saturating_sub(key) };
        let single = count / 2;
        if away < single {
            return first + away;
        }
        // In f32, as those that trained the tables had it: at a border it matters.
        let steps = (away as f32 / single as f32).ln() / (self.distance as f64 / single as f64).ln() as f32;
        first + (single + (steps * (count - single) as f32) as usize).min(count - 1)
    }
}

impl Parameters for RelativeBias {
    fn each(&mut self, visitor: &mut impl Visitor) {
        visitor.visit(&self.id.param("weight"), &mut self.table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `T5Attention._relative_position_bucket` gives them for 32 buckets and distances up to 128.
    #[test]
    fn buckets_are_those_of_t5() {
        let device = Device::flex();
        let of = |bidirectional| RelativeBias {
            id: ModuleId::new(None, "bias"),
            table: Param::frozen(Tensor::zeros([32, 1], &device)),
            bidirectional,
            distance: 128,
        };
        let (both, past) = (of(true), of(false));
        let behind: Vec<usize> =
            [0, 7, 8, 11, 12, 16, 23, 32, 46, 64, 91, 128, 500].map(|k| both.bucket(600, 600 - k)).into();
        assert_eq!(behind, [0, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 15, 15]);
        assert_eq!([1, 8, 300].map(|k| both.bucket(0, k)), [17, 24, 31]);
        let before: Vec<usize> = [0, 15, 16, 18, 19, 21, 32, 64, 113, 200].map(|k| past.bucket(200, 200 - k)).into();
        assert_eq!(before, [0, 15, 16, 16, 17, 18, 21, 26, 31, 31]);
        assert_eq!(past.bucket(3, 9), 0);
    }
}
