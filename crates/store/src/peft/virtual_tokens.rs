//! Positions before the text: PREFIX_TUNING and PROMPT_TUNING. Each is one tensor, `prompt_embeddings`.
//!
//! A prefix is `[length, 2 · layers · kv_size]`: for each layer its keys, then its values. Keys are as they stand in a
//! cache: no rotary position is applied to them, and the text begins at position `length`.

use serde_json::{Map, Value, json};
use stratune_peft::{MethodConfig, MethodKind, Methods};
use stratune_protocol::{ModelReport, Problem, Role};

use crate::safetensors::Tensors;
use crate::tensor::HostTensor;

pub(super) const KEYS: [&str; 12] = [
    "encoder_hidden_size",
    "init_weights",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "prefix_projection",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "token_dim",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
];
const TENSOR: &str = "prompt_embeddings";

/// What a block's keys or values are called until they are put into a model, which knows the paths of its attentions.
fn path(layer: usize, part: &str) -> String {
    format!("{PREFIX}{layer}.{part}")
}

/// What stands before the number of the block.
const PREFIX: &str = "prefix.";

/// The block whose keys or values PEFT's prefix has under this path, and which of the two.
pub fn prefix_part(path: &str) -> Option<(usize, &str)> {
    let (block, part) = path.strip_prefix(PREFIX)?.split_once('.')?;
    Some((block.parse().ok()?, part))
}

/// The one tensor and its two sizes.
fn only(fields: &Map<String, Value>, mut tensors: Tensors) -> Result<(HostTensor, [usize; 2]), Problem> {
    let again = "export the adapter again";
    let tensor = tensors.remove(TENSOR).filter(|_| tensors.is_empty());
    let length = fields.get("num_virtual_tokens").and_then(Value::as_u64).unwrap_or(0) as usize;
    match tensor {
        Some(tensor) if tensor.shape.len() == 2 && tensor.shape[0] == length && length > 0 => {
            let sizes = [tensor.shape[0], tensor.shape[1]];
            Ok((tensor, sizes))
        }
        Some(tensor) => {
            Err(Problem::input(format!("{TENSOR} is {:?} where num_virtual_tokens is {length}", tensor.shape))
                .next(again))
        }
        None => Err(Problem::input(format!("the adapter is not one tensor called {TENSOR}")).next(again)),
    }
}

pub(super) fn read_prefix(fields: &Map<String, Value>, tensors: Tensors) -> Result<(Methods, Tensors), Problem> {
    let (tensor, [length, width]) = only(fields, tensors)?;
    let size = fields.get("token_dim").and_then(Value::as_u64).unwrap_or(0) as usize;
    if size == 0 || !width.is_multiple_of(2 * size) {
        let what = format!("{TENSOR} has {width} columns, which is no multiple of 2 × token_dim {size}");
        return Err(Problem::input(what).next("export the adapter again"));
    }
    let columns = |from: usize| HostTensor {
        shape: vec![length, size],
        data: tensor.data.chunks(width).flat_map(|row| &row[from..from + size]).copied().collect(),
    };
    let mut kept = Tensors::new();
    for layer in 0..width / (2 * size) {
        kept.insert(path(layer, "keys"), columns(2 * layer * size));
        kept.insert(path(layer, "values"), columns((2 * layer + 1) * size));
    }
    let method = MethodConfig { length: Some(length), ..MethodConfig::new(MethodKind::Prefix) };
    Ok((method.into(), kept))
}

/// None if a layer lacks its prefix.
pub(super) fn write_prefix(model: &ModelReport, tensors: &Tensors) -> Option<Tensors> {
    let queries = model.modules.iter().filter(|module| module.role == Role::Query);
    let parts = queries.flat_map(|q| ["keys", "values"].map(|part| format!("{}.prefix.{part}", q.parent())));
    let parts: Vec<&HostTensor> = parts.map(|path| tensors.get(&path)).collect::<Option<_>>()?;
    let [length, size] = [parts.first()?.shape[0], parts.first()?.shape[1]];
    let row = |r: usize| parts.iter().flat_map(move |part| &part.data[r * size..(r + 1) * size]).copied();
    let data = (0..length).flat_map(row).collect();
    let tensor = HostTensor { shape: vec![length, parts.len() * size], data };
    Some([(TENSOR.to_string(), tensor)].into())
}

pub(super) fn prefix_fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    fields(json!({
        "encoder_hidden_size": model.key_value_size,
        "num_attention_heads": model.key_value_size / model.head_dim.max(1),
        "num_layers": model.layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": method.length,
        "prefix_projection": false,
        "token_dim": model.key_value_size,
    }))
}

pub(super) fn read_prompt(fields: &Map<String, Value>, tensors: Tensors) -> Result<(Methods, Tensors), Problem> {
    let (tensor, [length, _]) = only(fields, tensors)?;
    let method = MethodConfig { length: Some(length), ..MethodConfig::new(MethodKind::Prompt) };
    Ok((method.into(), [("prompt".to_string(), tensor)].into()))
}

pub(super) fn write_prompt(tensors: &Tensors) -> Option<Tensors> {
    Some([(TENSOR.to_string(), tensors.get("prompt")?.clone())].into())
}

pub(super) fn prompt_fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    fields(json!({
        "num_attention_heads": model.query_size / model.head_dim.max(1),
        "num_layers": model.layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": method.length,
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": null,
        "token_dim": model.hidden_size,
        "tokenizer_name_or_path": null,
    }))
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
