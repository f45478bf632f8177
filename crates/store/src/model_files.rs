//! A whole model as the files of a folder in Hugging Face form.

use std::collections::BTreeMap;

use serde_json::Value;
use stratune_protocol::Problem;

use crate::safetensors::write_safetensors;
use crate::tensor::{HostTensor, Stored};

/// The files of a model's folder: `config.json`, which is `config` with the format of the numbers put in, the weights, and
/// those `beside` them.
pub fn model_files(
    config: &Value,
    tensors: &BTreeMap<String, HostTensor>,
    stored: Stored,
    beside: Vec<(String, Vec<u8>)>,
) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let mut files = vec![
        ("config.json".to_string(), config_bytes(config, stored)?),
        ("model.safetensors".to_string(), write_safetensors(tensors, stored, &BTreeMap::new())?),
    ];
    files.extend(beside);
    Ok(files)
}

/// `config.json` with the format of the numbers put in.
///
/// # Errors
/// It is no JSON object.
pub fn config_bytes(config: &Value, stored: Stored) -> Result<Vec<u8>, Problem> {
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
    Ok(format!("{:#}\n", Value::Object(fields)).into_bytes())
}

/// A model's own `config.json` with what has changed of its geometry, `before` and `after`: all else in it stays.
pub fn changed_config(config: &Value, before: &Value, after: &Value) -> Value {
    let mut config = config.clone();
    for (key, value) in after.as_object().into_iter().flatten().filter(|(key, value)| before.get(key) != Some(value)) {
        config[key] = value.clone();
    }
    config
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
        let files =
            model_files(&config, &tensors, Stored::BF16, vec![("tokenizer.json".into(), b"T".to_vec())]).unwrap();
        let files = files.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes))).collect();
        let model = block_on(ModelFolder::open(Rc::new(MemoryFolder::new("out", files)))).unwrap();
        assert_eq!(model.config(), &json!({"hidden_size": 2, "dtype": "bfloat16", "torch_dtype": "bfloat16"}));
        assert_eq!(block_on(model.tensor("w")).unwrap(), tensors["w"]);
        assert_eq!(block_on(model.tokenizer()).unwrap(), (b"T".to_vec(), None));
    }

    #[test]
    fn only_what_changed_is_changed() {
        let config = json!({"eos_token_id": [1, 2], "rope_parameters": {"rope_theta": 1.0}, "attention_bias": false});
        let before = json!({"attention_bias": false, "rope_theta": 1.0});
        let after = json!({"attention_bias": true, "rope_theta": 1.0});
        let mut want = config.clone();
        want["attention_bias"] = true.into();
        assert_eq!(changed_config(&config, &before, &after), want);
        assert_eq!(changed_config(&config, &before, &before), config);
    }

    #[test]
    fn a_configuration_must_be_an_object() {
        let problem = model_files(&json!([]), &BTreeMap::new(), Stored::F32, vec![]).unwrap_err();
        assert_eq!(problem.at, "config.json");
    }
}
