//! Prompt tuning: learned embeddings before the text, at the input only (Lester et al. 2021, arXiv 2104.08691).

use serde_json::{Map, Value, json};
use stratune_protocol::ModelReport;

use crate::form::virtual_tokens::{KEYS, TENSOR, only};
use crate::form::{Form, Given, Read, with};
use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_a_whole, as_it_is, beside_any, shares_nothing,
};
use crate::setting::LENGTH;
use crate::{MethodConfig, MethodKind};

/// Prompt tuning.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Prompt,
    name: "prompt",
    title: "Prompt tuning",
    sentence: "Learned embeddings before the text, at the input only.",
    trains: "the embeddings",
    family: Family::Additive,
    settings: &[LENGTH],
    enters: Enters::Input,
    roles: &[],
    merges: Merges::No,
    per_layer: false,
    has_layers: false,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 10.0,
    saved_activations: SavedActivations::OUTSIDE,
    trainable,
    moving: as_a_whole,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: Some(&FORM),
};

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    method.length.unwrap_or(0) as u64 * model.hidden_size as u64
}

/// Lester et al. 2021: a hundred positions.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { length: Some(100), ..usual }
}

static FORM: Form = Form {
    peft_type: "PROMPT_TUNING",
    read,
    write: |model, method, tensors| {
        let prompt = tensors.get("prompt")?.clone();
        Some((fields(model, method), [(TENSOR.to_string(), prompt)].into()))
    },
    integers: &[],
};

fn read(given: Given<'_>) -> Read {
    given.known(&KEYS)?;
    let (tensor, [length, _]) = only(&given.fields, given.tensors)?;
    let method = MethodConfig { length: Some(length), ..MethodConfig::new(MethodKind::Prompt) };
    Ok((method.into(), [("prompt".to_string(), tensor)].into()))
}

fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    with(
        Map::new(),
        json!({
            "num_attention_heads": model.query_size / model.head_dim.max(1),
            "num_layers": model.layers,
            "num_transformer_submodules": 1,
            "num_virtual_tokens": method.length,
            "prompt_tuning_init": "RANDOM",
            "prompt_tuning_init_text": null,
            "token_dim": model.hidden_size,
            "tokenizer_name_or_path": null,
        }),
    )
}
