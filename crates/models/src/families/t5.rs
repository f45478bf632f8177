//! T5 (Raffel et al. 2020, arXiv 1910.10683): an encoder, and a decoder that reads it. v1.1, and FLAN after it, gates the
//! feed-forward and has an output layer of its own.

use serde_json::Value;
use stratune_kernels::Scores;
use stratune_protocol::{Module, Role};

use super::common::{self, Decoder, LLAMA, module};
use super::{Family, Fields, Given};
use crate::ModelConfig;
use crate::seq2seq::Seq2Seq;

/// An output layer that the configuration ties and the file has counts; one that it has not is the embedding, which files
/// may have twice.
pub const FAMILY: Family = Family {
    model_type: "t5",
    class: "T5ForConditionalGeneration",
    read,
    bias_keys: &[],
    gguf: None,
    file_names: &[
        ("shared.", "encoder.embed_tokens."),
        ("shared.", "decoder.embed_tokens."),
        ("lm_head.", "shared."),
        ("lm_head.", "encoder.embed_tokens."),
    ],
    file_name: None,
};

/// Its keys, and what its decoder's reader calls the same. The blocks are counted by both stacks' keys.
const KEYS: [(&str, &str); 6] = [
    ("d_model", "hidden_size"),
    ("d_ff", "intermediate_size"),
    ("num_heads", "num_attention_heads"),
    ("d_kv", "head_dim"),
    ("layer_norm_epsilon", "rms_norm_eps"),
    ("n_positions", "max_position_embeddings"),
];

/// Positions are relative: what it was trained on is no bound, but what is known to be good.
const PARTS: Decoder = Decoder { max_position_embeddings: 512, ..LLAMA };

fn read(family: &'static Family, fields: &Fields<'_>) -> Result<ModelConfig, String> {
    let class = fields.0["architectures"][0].as_str().unwrap_or(family.class);
    if class != family.class && class != "T5WithLMHeadModel" {
        return Err(format!("architectures names {class}, of which {} alone is computed", family.class));
    }
    let (gated, activation) = feed_forward(fields.word_or("feed_forward_proj", "relu")?)?;
    let encoder = match fields.given_size("num_layers")? {
        Given::Value(layers) => layers,
        _ => fields.size("num_hidden_layers")?,
    };
    let decoder = fields.given_size("num_decoder_layers")?.or(encoder, encoder);
    let mut json = fields.0.clone();
    if let Some(json) = json.as_object_mut() {
        // There are as many as there are heads.
        json.remove("num_key_value_heads");
        for (key, name) in KEYS {
            if let Some(value) = fields.get(key) {
                json.insert(name.into(), value.clone());
            }
        }
        json.insert("num_hidden_layers".into(), Value::from(encoder + decoder));
        json.insert("hidden_act".into(), activation.into());
    }
    let mut config = common::read(family, &Fields(&json), &PARTS)?;
    config.json = fields.0.clone();
    config.scores = Scores { scale: 1.0, softcap: None };
    for (block, kind) in config.attention.iter_mut().enumerate() {
        (kind.rope, kind.bidirectional) = (None, block < encoder);
    }
    let tied = fields.flag_or("tie_word_embeddings", true)?;
    let scaled = fields.flag_or("scale_decoder_outputs", tied)?;
    if scaled {
        config.logits_scaling = (config.hidden_size as f64).sqrt();
    }
    let start = fields.given("decoder_start_token_id", "token", Value::as_u64)?.or(0, 0);
    let [buckets, distance] = [
        fields.given_size("relative_attention_num_buckets")?.or(32, 32),
        fields.given_size("relative_attention_max_distance")?.or(128, 128),
    ];
    // The encoder has half of them for each side, and half of those for single distances.
    if buckets < 4 || distance <= buckets / 2 {
        return Err(format!("relative_attention_num_buckets {buckets} for distances up to {distance} is not computed"));
    }
    if start as usize >= config.vocab_size {
        return Err(format!("decoder_start_token_id is {start}, and vocab_size {}", config.vocab_size));
    }
    config.seq2seq = Some(Seq2Seq { encoder_layers: encoder, buckets, distance, start: start as u32 });
    config.modules = modules(&config, [encoder, decoder], gated, !scaled);
    Ok(config)
}

/// Whether the feed-forward is gated, and its activation by a name of transformers.
fn feed_forward(proj: &str) -> Result<(bool, &str), String> {
    Ok(match proj {
        // So it was trained, whatever the name says.
        "gated-gelu" => (true, "gelu_new"),
        gated if gated.starts_with("gated-") => (true, &gated["gated-".len()..]),
        plain if !plain.contains('-') => (false, plain),
        other => return Err(format!("feed_forward_proj is {other}, which is not computed")),
    })
}

fn modules(config: &ModelConfig, [encoder, decoder]: [usize; 2], gated: bool, has_head: bool) -> Vec<Module> {
    let (d, m, q) = (config.hidden_size, config.intermediate_size, config.num_attention_heads * config.head_dim);
    let rows = config.seq2seq.as_ref().map_or(0, |of| of.buckets);
    let mut all = vec![module(None, "shared".into(), Role::Embedding, vec![config.vocab_size, d], false)];
    for (stack, blocks, first) in [("encoder", encoder, 0), ("decoder", decoder, encoder)] {
        let reads = first > 0;
        for i in 0..blocks {
            let mut add = |name: &str, role: Role, shape: Vec<usize>| {
                all.push(module(Some(first + i), format!("{stack}.block.{i}.layer.{name}"), role, shape, false));
            };
            add("0.layer_norm", Role::AttentionNorm, vec![d]);
            for (name, role) in [("q", Role::Query), ("k", Role::Key), ("v", Role::Value)] {
                add(&format!("0.SelfAttention.{name}"), role, vec![q, d]);
            }
            add("0.SelfAttention.o", Role::Output, vec![d, q]);
            if reads {
                add("1.layer_norm", Role::CrossNorm, vec![d]);
                for (name, role) in [("q", Role::CrossQuery), ("k", Role::CrossKey), ("v", Role::CrossValue)] {
                    add(&format!("1.EncDecAttention.{name}"), role, vec![q, d]);
                }
                add("1.EncDecAttention.o", Role::CrossOutput, vec![d, q]);
            }
            let last = if reads { 2 } else { 1 };
            add(&format!("{last}.layer_norm"), Role::MlpNorm, vec![d]);
            let name = |name: &str| format!("{last}.DenseReluDense.{name}");
            if gated {
                add(&name("wi_0"), Role::Gate, vec![m, d]);
                add(&name("wi_1"), Role::Up, vec![m, d]);
            } else {
                add(&name("wi"), Role::Up, vec![m, d]);
            }
            add(&name("wo"), Role::Down, vec![d, m]);
        }
        // The table of a stack stands in its first block.
        let table = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias");
        all.push(module(None, table, Role::RelativeBias, vec![rows, config.num_attention_heads], false));
        let norm = if reads { Role::FinalNorm } else { Role::EncoderNorm };
        all.push(module(None, format!("{stack}.final_layer_norm"), norm, vec![d], false));
    }
    if has_head {
        all.push(module(None, "lm_head".into(), Role::Head, vec![config.vocab_size, d], false));
    }
    all
}
