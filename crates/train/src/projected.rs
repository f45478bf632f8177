//! GaLore: the optimiser sees a matrix's gradient in a few directions (Zhao et al. 2024, arXiv 2403.03507, algorithm 2).
//!
//! `R = Pᵀ G` (or `G P` for a tall matrix), AdamW's moments are of R's size, and the step `scale · P ΔR` goes to the whole
//! matrix. P holds the largest directions of the gradient and is chosen anew every `interval` steps; the moments go on,
//! as in the authors' code.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor, TensorData};
use stratune_peft::{Gradients, Param, ParamId, Parameters, UpdateRule, Visitor, singular_vectors};
use stratune_protocol::Problem;
use stratune_runtime::read_f32;
use stratune_store::HostTensor;

/// The directions of each matrix, by path: `[rank, smaller side]`.
#[derive(Clone, Debug, Default)]
pub struct Projectors(BTreeMap<String, Tensor<2>>);

impl Projectors {
    /// Chooses the directions that are due: of matrices without any, and of those that have moved a multiple of their
    /// interval; `step_counts` says how often each has.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn refresh(
        &mut self,
        of: &mut impl Parameters,
        gradients: &Gradients,
        step_counts: impl Fn(&str) -> usize,
    ) -> Result<(), Problem> {
        struct Wanted(Vec<(String, [usize; 2], usize, usize)>);
        impl Visitor for Wanted {
            fn visit<const D: usize>(&mut self, id: &ParamId, param: &mut Param<D>) {
                if let (true, UpdateRule::Projected { rank, interval, .. }, [rows, columns]) =
                    (param.trainable, param.rule, param.value.dims().as_slice())
                {
                    self.0.push((id.path.clone(), [*rows, *columns], rank, interval));
                }
            }
        }
        let mut wanted = Wanted(Vec::new());
        of.each(&mut wanted);
        for (path, shape, rank, interval) in wanted.0 {
            let Some(gradient) = gradients.get(&path) else { continue };
            if !self.0.contains_key(&path) || step_counts(&path).is_multiple_of(interval) {
                let chosen = singular_vectors(&gradient.clone().reshape(shape), rank).await?;
                self.0.insert(path, chosen);
            }
        }
        Ok(())
    }

    /// The gradient in the directions, flattened; none if the matrix has none.
    pub fn project(&self, path: &str, gradient: &Tensor<1>, [rows, columns]: [usize; 2]) -> Option<Tensor<1>> {
        let p = self.0.get(path)?.clone();
        let gradient = gradient.clone().reshape([rows, columns]);
        let narrow = if rows >= columns { gradient.matmul(p.transpose()) } else { p.matmul(gradient) };
        let count = narrow.shape().num_elements();
        Some(narrow.reshape([count]))
    }

    /// Back to the whole matrix, flattened.
    pub fn project_back(&self, path: &str, narrow: Tensor<1>, [rows, columns]: [usize; 2]) -> Option<Tensor<1>> {
        let p = self.0.get(path)?.clone();
        let rank = p.dims()[0];
        let wide = match rows >= columns {
            true => narrow.reshape([rows, rank]).matmul(p),
            false => p.transpose().matmul(narrow.reshape([rank, columns])),
        };
        Some(wide.reshape([rows * columns]))
    }

    /// The directions, for a checkpoint.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn save(&self) -> Result<BTreeMap<String, HostTensor>, Problem> {
        let mut tensors = BTreeMap::new();
        for (path, p) in &self.0 {
            let host = HostTensor { shape: p.dims().to_vec(), data: read_f32(p.clone()).await? };
            tensors.insert(format!("projector/{path}"), host);
        }
        Ok(tensors)
    }

    /// Takes them back.
    pub fn load(&mut self, tensors: &BTreeMap<String, HostTensor>, device: &Device) {
        self.0.clear();
        for (name, host) in tensors {
            if let (Some(path), [rank, side]) = (name.strip_prefix("projector/"), host.shape.as_slice()) {
                let data = TensorData::new(host.data.clone(), [*rank, *side]);
                self.0.insert(path.to_string(), Tensor::from_data(data, device));
            }
        }
    }

    /// Forgets those of these paths.
    pub fn release(&mut self, released: &BTreeSet<String>) {
        self.0.retain(|path, _| !released.contains(path));
    }
}
