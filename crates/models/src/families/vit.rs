//! Vision transformers (Dosovitskiy et al. 2020, arXiv 2010.11929): an encoder of the patches of an image, behind a
//! token that the classifier reads.

use serde_json::{Value, json};
use stratune_protocol::{Module, Role};

use super::common::{self, Decoder, LLAMA, module};
use super::{Family, Fields};
use crate::ModelConfig;
use crate::classifier_config::{ClassifierConfig, labels};
use crate::image_config::ImageConfig;

/// Files have the names that transformers gave its modules before version 5; PEFT has those of today.
pub const FAMILY: Family = Family {
    model_type: "vit",
    class: "ViTForImageClassification",
    read,
    bias_keys: &[("qkv_bias", &[Role::Query, Role::Key, Role::Value])],
    gguf: None,
    file_names: &[],
    file_name: Some(file_name),
};

/// What keys mean that are absent.
const ABSENT: [(&str, u64); 4] =
    [("hidden_size", 768), ("num_hidden_layers", 12), ("num_attention_heads", 12), ("intermediate_size", 3072)];

const PARTS: Decoder = Decoder {
    rms_norm_eps: 1e-12,
    activation: ("hidden_act", "gelu"),
    biased: &[Role::Output, Role::Up, Role::Down],
    ..LLAMA
};

/// Parts of a block: here and in PEFT, and in files.
const PARTS_IN_FILES: [(&str, &str); 6] = [
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
];

/// The token and the table of positions are tensors without a module of their own.
const TABLES: [&str; 2] = ["vit.embeddings.cls_token", "vit.embeddings.position_embeddings"];

fn file_name(name: &str) -> String {
    if let Some(table) = TABLES.into_iter().find(|table| name.strip_suffix(".weight") == Some(table)) {
        return table.into();
    }
    let name = name.replacen("vit.layers.", "vit.encoder.layer.", 1);
    PARTS_IN_FILES.into_iter().fold(name, |name, (here, there)| name.replacen(here, there, 1))
}

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let image = ImageConfig::read(fields)?;
    let mut json = fields.0.clone();
    if let Some(json) = json.as_object_mut() {
        for key in ["num_key_value_heads", "head_dim"] {
            json.remove(key);
        }
        for (key, value) in ABSENT {
            json.entry(key).or_insert_with(|| value.into());
        }
        json.entry("qkv_bias").or_insert(Value::Bool(true));
        let eps = json.get("layer_norm_eps").cloned().unwrap_or_else(|| json!(PARTS.rms_norm_eps));
        json.insert("rms_norm_eps".into(), eps);
        json.insert("vocab_size".into(), 1.into());
        json.insert("max_position_embeddings".into(), (image.patches() + 1).into());
    }
    let mut config = common::read(family, &Fields(&json), &PARTS)?;
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        return Err(format!("hidden_size {hidden} is not a multiple of num_attention_heads {heads}"));
    }
    config.json = fields.0.clone();
    config.centring_norms = true;
    config.attention.iter_mut().for_each(|kind| (kind.rope, kind.bidirectional) = (None, true));
    let labels = labels(fields)?;
    let qkv_bias = Fields(&json).flag_or("qkv_bias", true)?;
    config.modules = modules(&config, &image, labels.len(), qkv_bias);
    config.classifier = Some(ClassifierConfig { labels, reads_last: false, activation: None });
    config.image = Some(image);
    Ok(config)
}

fn modules(config: &ModelConfig, image: &ImageConfig, labels: usize, qkv_bias: bool) -> Vec<Module> {
    let (d, m) = (config.hidden_size, config.intermediate_size);
    let [token, positions] = TABLES.map(String::from);
    let projection = "vit.embeddings.patch_embeddings.projection".into();
    let mut all = vec![
        module(None, token, Role::Embedding, vec![1, d], false),
        module(None, positions, Role::PositionEmbedding, vec![image.patches() + 1, d], false),
        module(None, projection, Role::PatchEmbedding, vec![d, image.patch_numbers()], true),
    ];
    for i in 0..config.num_hidden_layers {
        for (name, role, shape) in [
            ("layernorm_before", Role::AttentionNorm, vec![d]),
            ("attention.q_proj", Role::Query, vec![d, d]),
            ("attention.k_proj", Role::Key, vec![d, d]),
            ("attention.v_proj", Role::Value, vec![d, d]),
            ("attention.o_proj", Role::Output, vec![d, d]),
            ("layernorm_after", Role::MlpNorm, vec![d]),
            ("mlp.fc1", Role::Up, vec![m, d]),
            ("mlp.fc2", Role::Down, vec![d, m]),
        ] {
            let bias = qkv_bias || !matches!(role, Role::Query | Role::Key | Role::Value);
            all.push(module(Some(i), format!("vit.layers.{i}.{name}"), role, shape, bias));
        }
    }
    all.push(module(None, "vit.layernorm".into(), Role::FinalNorm, vec![d], true));
    all.push(module(None, "classifier".into(), Role::Classifier, vec![labels, d], true));
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(changes: Value) -> Result<ModelConfig, String> {
        let mut json = json!({"model_type": "vit", "image_size": 32, "patch_size": 8, "hidden_size": 16,
                              "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 24});
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        ModelConfig::from_json(&json, "config.json").map_err(|problem| problem.what)
    }

    #[test]
    fn names_and_shapes_of_files() {
        let config = config(json!({"qkv_bias": false})).unwrap();
        let layout = config.layout();
        let in_file = |name: &str| {
            let entry = layout.iter().find(|entry| entry.name == name).unwrap();
            (entry.file_name.as_str(), entry.file_shape())
        };
        let (weight, bias) = ("vit.embeddings.patch_embeddings.projection.weight", "mlp.fc1.bias");
        assert_eq!(in_file("vit.embeddings.cls_token.weight"), (TABLES[0], vec![1, 1, 16]));
        assert_eq!(in_file("vit.embeddings.position_embeddings.weight"), (TABLES[1], vec![1, 17, 16]));
        assert_eq!(in_file(weight), (weight, vec![16, 3, 8, 8]));
        let (query, output) = ("vit.layers.1.attention.q_proj.weight", "vit.layers.1.attention.o_proj.bias");
        assert_eq!(in_file(query).0, "vit.encoder.layer.1.attention.attention.query.weight");
        assert_eq!(in_file(output).0, "vit.encoder.layer.1.attention.output.dense.bias");
        assert_eq!(in_file(&format!("vit.layers.0.{bias}")).0, "vit.encoder.layer.0.intermediate.dense.bias");
        assert_eq!(in_file("vit.layers.0.mlp.fc2.weight").0, "vit.encoder.layer.0.output.dense.weight");
        assert!(layout.iter().all(|entry| !entry.name.ends_with("q_proj.bias")));
        // One that was saved without its classifier.
        let names = config.names_in_files(query);
        assert!(names.contains(&"encoder.layer.1.attention.attention.query.weight".to_string()), "{names:?}");
    }

    #[test]
    fn what_is_no_image_of_whole_patches_is_refused() {
        for (changes, named) in [
            (json!({"patch_size": 7}), "patch_size"),
            (json!({"patch_size": 64}), "patch_size"),
            (json!({"image_size": 0}), "image_size"),
            (json!({"image_size": [32]}), "image_size"),
            (json!({"image_size": 100_000}), "image_size"),
            (json!({"num_channels": 1}), "num_channels"),
            (json!({"num_attention_heads": 3}), "num_attention_heads"),
        ] {
            let why = config(changes).unwrap_err();
            assert!(why.contains(named), "{why}");
        }
        let wide = config(json!({"image_size": [16, 32]})).unwrap();
        assert_eq!((wide.context(), wide.vocab_size, wide.is_encoder()), (9, 1, true));
    }
}
