//! What BERT and the encoders after it have in common: each token sees all of its text, norms are of sums, positions have
//! embeddings, and a classifier reads the first token.

use serde_json::Value;
use stratune_protocol::{Module, Role};

use super::common::{self, Decoder, LLAMA, module};
use super::{Family, Fields};
use crate::ModelConfig;
use crate::classifier_config::{ClassifierConfig, labels};
use crate::nn::ClassifierActivation;

/// What an encoder's modules are called, and what differs between families.
pub(super) struct Encoder {
    /// What is before all but the classifier.
    pub base: &'static str,
    /// Its keys, and what BERT calls the same.
    pub keys: &'static [(&'static str, &'static str)],
    /// The key of the activation.
    pub activation: &'static str,
    /// Where blocks are, before their number.
    pub blocks: &'static str,
    /// The linear layers of a block, in the order of [`Role::LINEAR`]: query, key, value, output, up, down.
    pub linears: [&'static str; 6],
    /// The norms behind attention and feed-forward.
    pub norms: [&'static str; 2],
    /// Whether texts of a pair have embeddings.
    pub token_types: bool,
    /// Whether positions begin behind that of the padding's token, which takes none, as its number says; `None` where they
    /// begin at the first row.
    pub padding: Option<u32>,
    /// Layers of the classifier: that between, and the one that gives labels.
    pub classifier: [&'static str; 2],
    /// What is behind the first of these.
    pub between: ClassifierActivation,
}

/// BERT: an encoder says in what it is another.
pub(super) const BERT: Encoder = Encoder {
    base: "bert",
    keys: &[],
    activation: "hidden_act",
    blocks: "encoder.layer",
    linears: [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ],
    norms: ["attention.output.LayerNorm", "output.LayerNorm"],
    token_types: true,
    padding: None,
    classifier: ["bert.pooler.dense", "classifier"],
    between: ClassifierActivation::Tanh,
};

/// The keys that its decoder's reader knows by another name.
const KEYS: [(&str, &str); 1] = [("layer_norm_eps", "rms_norm_eps")];

const PARTS: Decoder = Decoder { rms_norm_eps: 1e-12, max_position_embeddings: 512, ..LLAMA };

/// Reads `config.json`.
pub(super) fn read(family: &'static Family, fields: &Fields<'_>, of: &Encoder) -> Result<ModelConfig, String> {
    for (key, sound) in [("is_decoder", false), ("add_cross_attention", false)] {
        if fields.flag_or(key, sound)? != sound {
            return Err(format!("{key} is true, which is not computed"));
        }
    }
    let positions = fields.word_or("position_embedding_type", "absolute")?;
    if positions != "absolute" {
        return Err(format!("position_embedding_type is {positions}, which is not computed"));
    }
    let mut json = fields.0.clone();
    if let Some(json) = json.as_object_mut() {
        // Keys of decoders say nothing here.
        for key in ["num_key_value_heads", "head_dim"] {
            json.remove(key);
        }
        for (key, name) in of.keys.iter().chain(&KEYS) {
            if let Some(value) = fields.get(key) {
                json.insert((*name).into(), value.clone());
            }
        }
        json.entry("hidden_act").or_insert_with(|| Value::from("gelu"));
    }
    let inner = Fields(&json);
    let parts = Decoder { activation: (of.activation, "gelu"), ..PARTS };
    let mut config = common::read(family, &inner, &parts)?;
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        return Err(format!("hidden_size {hidden} is not a multiple of num_attention_heads {heads}"));
    }
    config.json = fields.0.clone();
    config.centring_norms = true;
    config.norms_of_sums = true;
    config.attention.iter_mut().for_each(|kind| (kind.rope, kind.bidirectional) = (None, true));
    if let Some(absent) = of.padding {
        let pad = fields.given("pad_token_id", "token", Value::as_u64)?.or(absent.into(), absent.into());
        let pad = u32::try_from(pad).map_err(|_| format!("pad_token_id is {pad}"))?;
        (config.unplaced_token, config.first_position) = (Some(pad), pad as usize + 1);
    }
    let rows = config.max_position_embeddings;
    if rows <= config.first_position {
        return Err(format!("max_position_embeddings is {rows}, and the first position is {}", config.first_position));
    }
    config.max_position_embeddings = rows - config.first_position;
    let labels = labels(fields)?;
    let types = if of.token_types { inner.given_size("type_vocab_size")?.or(2, 2) } else { 0 };
    config.modules = modules(&config, of, [rows, types, labels.len()]);
    config.classifier = Some(ClassifierConfig { labels, reads_last: false, activation: Some(of.between) });
    Ok(config)
}

fn modules(config: &ModelConfig, of: &Encoder, [positions, types, labels]: [usize; 3]) -> Vec<Module> {
    let (d, m, base) = (config.hidden_size, config.intermediate_size, of.base);
    let table = |name: &str, role, rows| module(None, format!("{base}.embeddings.{name}"), role, vec![rows, d], false);
    let mut all = vec![
        table("word_embeddings", Role::Embedding, config.vocab_size),
        table("position_embeddings", Role::PositionEmbedding, positions),
    ];
    if types > 0 {
        all.push(table("token_type_embeddings", Role::TokenTypeEmbedding, types));
    }
    all.push(module(None, format!("{base}.embeddings.LayerNorm"), Role::EmbeddingNorm, vec![d], true));
    let [query, key, value, output, up, down] = of.linears;
    let [attention_norm, mlp_norm] = of.norms;
    for i in 0..config.num_hidden_layers {
        for (name, role, shape) in [
            (query, Role::Query, vec![d, d]),
            (key, Role::Key, vec![d, d]),
            (value, Role::Value, vec![d, d]),
            (output, Role::Output, vec![d, d]),
            (attention_norm, Role::AttentionOutputNorm, vec![d]),
            (up, Role::Up, vec![m, d]),
            (down, Role::Down, vec![d, m]),
            (mlp_norm, Role::MlpOutputNorm, vec![d]),
        ] {
            all.push(module(Some(i), format!("{base}.{}.{i}.{name}", of.blocks), role, shape, true));
        }
    }
    let [pooler, classifier] = of.classifier;
    all.push(module(None, pooler.into(), Role::Pooler, vec![d, d], true));
    all.push(module(None, classifier.into(), Role::Classifier, vec![labels, d], true));
    all
}
