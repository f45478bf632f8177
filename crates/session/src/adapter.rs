//! Taking an adapter out of a model, and putting one in.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use stratune_models::Llama;
use stratune_peft::{everything, snapshot};
use stratune_protocol::{MethodConfig, Problem};
use stratune_runtime::read_f32;
use stratune_store::{Adapter, HostTensor, adapter_files};

/// The adapter folder of a model's additions, as Hugging Face PEFT reads it.
///
/// # Errors
/// The device does not answer.
pub async fn adapter_of(
    model: &mut Llama,
    method: &MethodConfig,
    base_model: &str,
) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let mut factors: BTreeMap<String, [Option<HostTensor>; 2]> = BTreeMap::new();
    for (path, (shape, value)) in snapshot(model) {
        for (place, suffix) in [".lora_A.weight", ".lora_B.weight"].into_iter().enumerate() {
            if let Some(layer) = path.strip_suffix(suffix) {
                let host = HostTensor { shape: shape.clone(), data: read_f32(value.clone()).await? };
                factors.entry(layer.to_string()).or_default()[place] = Some(host);
            }
        }
    }
    let pairs = factors.into_iter().filter_map(|(layer, [a, b])| Some((layer, (a?, b?))));
    adapter_files(base_model, method, &pairs.collect())
}

/// Puts an adapter into a model.
///
/// # Errors
/// The adapter belongs to another model; names the layer.
pub fn attach(model: &mut Llama, adapter: &Adapter) -> Result<(), Problem> {
    let device = model.device();
    let matrix = |host: &HostTensor, path: &str| match host.shape[..] {
        [rows, columns] => Ok(Tensor::<2>::from_data(TensorData::new(host.data.clone(), [rows, columns]), &device)),
        _ => {
            Err(Problem::input(format!("a factor of {path} has the shape {:?}", host.shape)).next("use a LoRA adapter"))
        }
    };
    for (path, pair) in &adapter.layers {
        let (a, b) = (matrix(&pair.a, path)?, matrix(&pair.b, path)?);
        model.attach_factors(path, a, b, pair.scale)?;
    }
    Ok(())
}

/// All of a model's tensors on the host, its additions merged into them.
///
/// # Errors
/// The device does not answer.
pub async fn merged_tensors(mut model: Llama) -> Result<BTreeMap<String, HostTensor>, Problem> {
    model.merge();
    let mut tensors = BTreeMap::new();
    for (path, (shape, value)) in everything(&mut model) {
        tensors.insert(path, HostTensor { shape, data: read_f32(value).await? });
    }
    Ok(tensors)
}
