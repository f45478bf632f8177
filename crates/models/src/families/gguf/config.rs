//! Metadata of a GGUF file as a `config.json`.

use serde_json::{Value, json};
use stratune_protocol::Role;

use super::{GgufForm, Keys, LONGROPE_FACTORS, ROPE_FACTORS, tensors};
use crate::families::Family;

/// More blocks than any model has.
const MAX_LAYERS: usize = 512;

/// What the metadata say, as the keys of `config.json`.
pub(super) fn of(family: &Family, form: &GgufForm, keys: &Keys<'_>) -> Result<Value, String> {
    let layers = keys.needed("block_count")?;
    if layers > MAX_LAYERS {
        return Err(format!("{} is {layers}, more than any model has", keys.key("block_count")));
    }
    if let Some(experts) = keys.size("expert_count").unwrap_or(None) {
        return Err(format!("{} is {experts}: mixtures of experts are not computed", keys.key("expert_count")));
    }
    let needed = |key: &str| keys.of_all_blocks(key)?.ok_or_else(|| format!("{} is missing", keys.key(key)));
    let (heads, head_dim) = (needed("attention.head_count")?, keys.head_dim()?);
    let context = keys.needed("context_length")?;
    let rotated = keys.size("rope.dimension_count")?.unwrap_or(head_dim);
    if rotated > head_dim || rotated < head_dim && form.rotary_share.is_none() {
        return Err(format!("{} is {rotated} of {head_dim}, which is not computed", keys.key("rope.dimension_count")));
    }
    if let Some(window) = keys.size("attention.sliding_window").unwrap_or(None)
        && !form.slides
        && window < context
    {
        return Err(format!("{} is {window}, which is not computed", keys.key("attention.sliding_window")));
    }
    let [epsilon, epsilon_name] = form.epsilon;
    let mut config = json!({
        "architectures": [family.class],
        "model_type": family.model_type,
        "vocab_size": keys.rows("token_embd.weight").ok_or("the file has no tensor token_embd.weight")?,
        "hidden_size": keys.needed("embedding_length")?,
        "intermediate_size": needed("feed_forward_length")?,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.of_all_blocks("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head_dim,
        "max_position_embeddings": context,
        epsilon_name: keys.number(epsilon)?.ok_or_else(|| format!("{} is missing", keys.key(epsilon)))?,
        "rope_theta": keys.number("rope.freq_base")?.unwrap_or(1e4),
        "tie_word_embeddings": keys.rows("output.weight").is_none(),
    });
    let Value::Object(fields) = &mut config else { return Ok(config) };
    if let Some(scaling) = rope_scaling(keys, context)? {
        fields.insert("rope_scaling".into(), scaling);
    }
    if let Some(name) = form.rotary_share.filter(|_| rotated < head_dim) {
        let share = rotated as f64 / head_dim as f64;
        // Of which as many are made again, rounded down.
        let again = (head_dim as f64 * share) as usize;
        fields.insert(name.into(), if again == rotated { share } else { share.next_up() }.into());
    }
    for (key, roles) in family.bias_keys {
        let has = |role: &Role| keys.rows(&format!("blk.0.{}.bias", tensors::name(*role))).is_some();
        fields.insert((*key).into(), roles.iter().any(has).into());
    }
    for token in ["bos", "eos"] {
        if let Some(id) = keys.fields.get(&format!("tokenizer.ggml.{token}_token_id")) {
            fields.insert(format!("{token}_token_id"), id.clone());
        }
    }
    (form.config)(keys, fields)?;
    Ok(config)
}

/// How positions are stretched, as `rope_scaling` of `config.json`.
fn rope_scaling(keys: &Keys<'_>, context: usize) -> Result<Option<Value>, String> {
    let kind = keys.key("rope.scaling.type");
    let factor = match keys.number("rope.scaling.factor")? {
        None => keys.number("rope.scale_linear")?,
        factor => factor,
    };
    let [short, long] = LONGROPE_FACTORS.map(|name| keys.factors(name));
    if let (Some(short), Some(long)) = (short, long) {
        return longrope([short, long], keys, context).map(Some);
    }
    match (keys.fields.word_or(&kind, "none")?, factor, keys.factors(ROPE_FACTORS)) {
        ("none", None, Some(factors)) => llama3(factors, keys).map(Some),
        ("linear" | "none", Some(factor), None) => Ok(Some(json!({"rope_type": "linear", "factor": factor}))),
        ("linear" | "none", None, None) => Ok(None),
        ("yarn", Some(factor), None) => {
            let mut scaling = json!({"rope_type": "yarn", "factor": factor});
            scaling["original_max_position_embeddings"] =
                keys.size("rope.scaling.original_context_length")?.unwrap_or(context).into();
            for (key, name) in
                [("rope.scaling.yarn_beta_fast", "beta_fast"), ("rope.scaling.yarn_beta_slow", "beta_slow")]
            {
                if let Some(number) = keys.number(key)? {
                    scaling[name] = number.into();
                }
            }
            Ok(Some(scaling))
        }
        (other, _, None) => Err(format!("{kind} is {other}, which is not computed")),
        (other, _, Some(_)) => Err(format!("{kind} is {other} and there is {ROPE_FACTORS}, which is not computed")),
    }
}

/// LongRoPE with these factors. What cosines and sines are multiplied by is said where it is not what follows from the contexts.
fn longrope(factors: [&[f32]; 2], keys: &Keys<'_>, context: usize) -> Result<Value, String> {
    let original = keys.size("rope.scaling.original_context_length")?.unwrap_or(context);
    let [short, long] = factors.map(|factors| factors.iter().map(|factor| plain(*factor)).collect::<Vec<_>>());
    let mut scaling = json!({"rope_type": "longrope", "short_factor": short, "long_factor": long,
                             "original_max_position_embeddings": original});
    let longer = context as f64 / original as f64;
    let usual = if longer <= 1.0 { 1.0 } else { (1.0 + longer.ln() / (original as f64).ln()).sqrt() };
    if let Some(factor) = keys.number("rope.scaling.attn_factor")?.filter(|factor| (factor / usual - 1.0).abs() > 1e-6)
    {
        scaling["attention_factor"] = factor.into();
    }
    Ok(scaling)
}

/// A number as it is written, where it was rounded to f32.
fn plain(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::NAN)
}

/// The scaling of Llama 3 of which these factors are: files hold them and not what they are made of. The longest wavelengths
/// are stretched by the whole factor, and one that is stretched by less says how long texts were before.
fn llama3(factors: &[f32], keys: &Keys<'_>) -> Result<Value, String> {
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    let head_dim = keys.head_dim()?;
    let theta = keys.number("rope.freq_base")?.unwrap_or(1e4);
    let factor = plain(factors.iter().copied().fold(1.0_f32, f32::max));
    let wavelength = |i: usize| std::f64::consts::TAU * theta.powf(2.0 * i as f64 / head_dim as f64);
    // They are f32, made in f32 or f64.
    let fits = |original: f64| {
        let want = |i: usize| {
            let smooth = ((original / wavelength(i) - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
            1.0 / ((1.0 - smooth) / factor + smooth)
        };
        factors.iter().enumerate().all(|(i, is)| (f64::from(*is) / want(i) - 1.0).abs() < 1e-4)
    };
    let of_one = |(i, is): (usize, &f32)| {
        let smooth = (1.0 / f64::from(*is) - 1.0 / factor) / (1.0 - 1.0 / factor);
        (smooth > 1e-3 && smooth < 1.0 - 1e-3).then(|| (wavelength(i) * (LOW + (HIGH - LOW) * smooth)).round())
    };
    let original = [8192.0].into_iter().chain(factors.iter().enumerate().filter_map(of_one)).find(|it| fits(*it));
    match original {
        Some(original) if factors.len() == head_dim / 2 => {
            Ok(json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH,
                      "original_max_position_embeddings": original as u64}))
        }
        _ => Err(format!("{ROPE_FACTORS} stretches wavelengths otherwise than Llama 3 does, which is not computed")),
    }
}
