//! Where a run began: what a structure that trains alone goes back to.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use stratune_models::Model;
use stratune_peft::snapshot;
use stratune_protocol::Problem;
use stratune_runtime::read_f32;
use stratune_store::HostTensor;
use stratune_train::{Run, Saved};

use crate::supernet::{Raw, Supernet};

/// How its tensors begin in a checkpoint.
const PREFIX: &str = "search_start/";

/// All parameters that train, as they were before the first step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start(Raw);

impl Start {
    /// Of a model before its first step. Tensors are shared, not copied.
    pub fn of(model: &mut Model) -> Self {
        Self(snapshot(model).into_iter().map(|(path, (_, value))| (path, value)).collect())
    }

    /// Goes back there: parameters as they were, and no state of the optimiser.
    ///
    /// # Errors
    /// It is the start of another model: it came from a file.
    pub fn restore(&self, run: &mut Run<'_>) -> Result<(), Problem> {
        let there = snapshot(run.model);
        let same = |(path, (_, value)): (&String, &(Vec<usize>, Tensor<1>))| {
            self.0.get(path).is_some_and(|start| start.dims() == value.dims())
        };
        if let Some((path, _)) = there.iter().find(|parameter| !same(*parameter)) {
            return Err(Problem::input(format!("the checkpoint does not say where {path} began"))
                .at("checkpoint.safetensors")
                .next("start the search anew"));
        }
        Supernet::open(run.model, &self.0);
        run.optimiser.release(run.model);
        Ok(())
    }

    /// For a checkpoint.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn save(&self) -> Result<BTreeMap<String, HostTensor>, Problem> {
        let mut tensors = BTreeMap::new();
        for (path, value) in &self.0 {
            let host = HostTensor { shape: value.dims().to_vec(), data: read_f32(value.clone()).await? };
            tensors.insert(format!("{PREFIX}{path}"), host);
        }
        Ok(tensors)
    }

    /// Out of a checkpoint.
    pub fn load(saved: &Saved<'_>) -> Self {
        let own = saved.tensors.iter().filter_map(|(name, host)| Some((name.strip_prefix(PREFIX)?.to_string(), host)));
        let tensor =
            |host: &HostTensor| Tensor::from_data(TensorData::new(host.data.clone(), [host.data.len()]), saved.device);
        Self(own.map(|(path, host)| (path, tensor(host))).collect())
    }
}
