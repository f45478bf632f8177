//! Positions before the text: PREFIX_TUNING and PROMPT_TUNING. Each is one tensor, `prompt_embeddings`.

use serde_json::{Map, Value};
use stratune_protocol::Problem;
use stratune_store::{HostTensor, Tensors};

pub(crate) const KEYS: [&str; 12] = [
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
pub(crate) const TENSOR: &str = "prompt_embeddings";

/// What a block's keys or values are called until they are put into a model, which knows the paths of its attentions.
pub(crate) fn path(layer: usize, part: &str) -> String {
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
pub(crate) fn only(fields: &Map<String, Value>, mut tensors: Tensors) -> Result<(HostTensor, [usize; 2]), Problem> {
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
