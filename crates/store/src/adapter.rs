//! Adapter folders: `adapter_config.json` and `adapter_model.safetensors`. What they say is known to the methods.

use std::collections::BTreeMap;

use serde_json::Value;
use stratune_protocol::Problem;

use crate::folder::{Folder, missing, place};
use crate::safetensors::{Tensors, read_safetensors, write_each};
use crate::tensor::Stored;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// The two files of an adapter's folder.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterFiles {
    /// The configuration.
    pub config: Value,
    /// Its text.
    pub text: Vec<u8>,
    /// The tensors by their names.
    pub tensors: Tensors,
    /// Where the configuration is, for messages.
    pub config_at: String,
    /// Where the tensors are.
    pub weights_at: String,
}

impl AdapterFiles {
    /// Reads them out of a folder.
    ///
    /// # Errors
    /// A file is missing or damaged; names it.
    pub async fn read(folder: &dyn Folder) -> Result<Self, Problem> {
        for name in [CONFIG, WEIGHTS] {
            if folder.size(name).is_none() {
                let next = "choose the folder of a PEFT adapter that was saved in safetensors form";
                return Err(missing(folder, name, next));
            }
        }
        let (config_at, weights_at) = (place(folder, CONFIG), place(folder, WEIGHTS));
        let text = folder.read(CONFIG, None).await?.to_vec();
        let config = serde_json::from_slice(&text).map_err(|e| {
            Problem::input(format!("{CONFIG} cannot be read: {e}")).at(&config_at).next("export the adapter again")
        })?;
        let (tensors, _) = read_safetensors(&folder.read(WEIGHTS, None).await?, &weights_at)?;
        Ok(Self { config, text, tensors, config_at, weights_at })
    }

    /// The files' names and bytes; `stored` says of a tensor's name how its numbers are written.
    ///
    /// # Errors
    /// A tensor is not what its shape says.
    pub fn write(
        config: &Value,
        tensors: &Tensors,
        stored: impl Fn(&str) -> Stored,
    ) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        let weights = write_each(tensors, stored, &BTreeMap::new())?;
        Ok(vec![(CONFIG.into(), format!("{config:#}\n").into_bytes()), (WEIGHTS.into(), weights)])
    }
}
