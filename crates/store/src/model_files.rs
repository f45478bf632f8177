//! A whole model as the files of a folder in Hugging Face form.

use std::collections::BTreeMap;

use serde_json::Value;
use stratune_protocol::Problem;

use crate::safetensors::write_safetensors;
use crate::tensor::{HostTensor, Stored};

/// The files of a model's folder. `config.json` is `config` with the format of the numbers put in.
pub fn model_files(
    config: &Value,
    tensors: &BTreeMap<String, HostTensor>,
    stored: Stored,
    tokenizer: &[u8],
    tokenizer_config: Option<&[u8]>,
) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let Value::Object(fields) = config else {
        return Err(Problem::input("the model's configuration is not a JSON object")
            .at("config.json")
            .next("use the config.json that came with the model"));
    };
    let mut fields = fields.clone();
    // `dtype` for today's readers, `torch_dtype` for those before 2025.
    for key in ["dtype", "torch_dtype"] {
        fields.insert(key.into(), stored.config_name().into());
    }
    let config = format!("{:#}\n", Value::Object(fields));
    let mut files = vec![
        ("config.json".to_string(), config.into_bytes()),
        ("model.safetensors".to_string(), write_safetensors(tensors, stored, &BTreeMap::new())?),
        ("tokenizer.json".to_string(), tokenizer.to_vec()),
    ];
    if let Some(bytes) = tokenizer_config {
        files.push(("tokenizer_config.json".to_string(), bytes.to_vec()));
    }
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;
    use std::rc::Rc;

    use pollster::block_on;
    use serde_json::json;

    use super::*;
    use crate::folder::MemoryFolder;
    use crate::model_folder::ModelFolder;

    #[test]
    fn opens_as_a_model_folder() {
        let tensor = HostTensor { shape: vec![1, 2], data: vec![0.5, -4.0] };
        let tensors: BTreeMap<_, _> = [("w".to_string(), tensor)].into();
        let config = json!({"hidden_size": 2, "torch_dtype": "float32"});
        let files = model_files(&config, &tensors, Stored::BF16, b"T", Some(b"C")).unwrap();
        let files = files.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes))).collect();
        let model = block_on(ModelFolder::open(Rc::new(MemoryFolder::new("out", files)))).unwrap();
        assert_eq!(model.config(), &json!({"hidden_size": 2, "dtype": "bfloat16", "torch_dtype": "bfloat16"}));
        assert_eq!(block_on(model.tensor("w")).unwrap(), tensors["w"]);
        assert_eq!(block_on(model.tokenizer()).unwrap(), (b"T".to_vec(), Some(b"C".to_vec())));
    }

    #[test]
    fn a_configuration_must_be_an_object() {
        let problem = model_files(&json!([]), &BTreeMap::new(), Stored::F32, b"", None).unwrap_err();
        assert_eq!(problem.at, "config.json");
    }
}
