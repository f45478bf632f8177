//! A few of a matrix's own weights train (PaFi: Liao et al. 2023, arXiv 2305.16742, §3.1).
//!
//! `W' = W + δ`, δ zero but at the chosen places, where it is the parameter. So nothing outside the places can move,
//! whatever the optimiser does; moments exist for the places alone, and weight decay draws δ to zero, that is, the
//! weights to where they were.
//!
//! PaFi takes the weights of least magnitude in each matrix: no data, no gradient, one choice for all tasks. Equal
//! magnitudes are taken in the order of the matrix.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use stratune_kernels::linear;
use stratune_protocol::{MethodConfig, kept};
use stratune_runtime::read_f32;

use crate::{Param, Parameters, Pass, PeftError, Site, Visitor};

/// The chosen places of a matrix, and what is added there.
#[derive(Clone, Debug)]
pub struct Sparse {
    /// Places in the flattened matrix, rising: `[kept]`.
    pub places: Tensor<1, Int>,
    /// δ there: `[kept]`.
    pub values: Param<1>,
    shape: [usize; 2],
}

impl Sparse {
    /// PaFi's choice, which changes nothing yet.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn smallest(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let weights = read_f32(site.weight.clone()).await.map_err(|e| PeftError::Device(Box::new(e)))?;
        let places = smallest(&weights, kept(config.share.unwrap_or(0.0), site.shape()));
        Ok(Self::at(places, site))
    }

    /// At given places.
    fn at(places: Vec<i32>, site: &Site) -> Self {
        let (count, device) = (places.len(), site.device());
        Self {
            places: Tensor::from_data(TensorData::new(places, [count]), &device),
            values: Param::trainable(Tensor::zeros([count], &device)),
            shape: site.shape(),
        }
    }

    /// The dense update, `[out, in]`.
    pub(crate) fn update(&self) -> Tensor<2> {
        let values = self.values.value.clone();
        let count = self.shape[0] * self.shape[1];
        let flat = Tensor::<1>::zeros([count], &values.device());
        flat.select_assign(0, self.places.clone(), values, IndexingUpdateOp::Add).reshape(self.shape)
    }

    /// The addition to the layer's output.
    pub(crate) fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        linear(x, self.update()).mul_scalar(pass.damping)
    }
}

/// The places of the `count` values of least magnitude, rising.
fn smallest(values: &[f32], count: usize) -> Vec<i32> {
    let mut order: Vec<i32> = (0..values.len() as i32).collect();
    let size = |i: &i32| values[*i as usize].abs();
    order.sort_by(|a, b| size(a).total_cmp(&size(b)));
    order.truncate(count);
    order.sort_unstable();
    order
}

impl Parameters for Sparse {
    fn each(&mut self, path: &str, visitor: &mut impl Visitor) {
        visitor.visit(&format!("{path}.sparse_values"), &mut self.values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_are_taken_and_the_first_of_equals() {
        let values = [3.0, -1.0, 0.5, 1.0, -0.5, 0.0, 2.0];
        for (count, want) in [(1, vec![5]), (2, vec![2, 5]), (4, vec![1, 2, 4, 5]), (9, (0..7).collect())] {
            assert_eq!(smallest(&values, count), want);
        }
    }
}
