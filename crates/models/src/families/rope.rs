//! Rotary positions as `config.json` has them: transformers 5 writes `rope_parameters` with the base inside, earlier
//! versions wrote `rope_theta` and `rope_scaling`, whose kind was once called `type`.

use serde_json::Value;

use super::Fields;
use crate::nn::{LongRope, Rope, RopeScaling, Yarn};

/// Positions of the longest context that is believed.
const LONGEST: f64 = (1 << 24) as f64;

/// `context` is the longest sequence the model was made for.
pub(super) fn read(fields: &Fields<'_>, default_theta: f64, context: usize) -> Result<Rope, String> {
    let old = fields.within("rope_scaling");
    let inner =
        if old.0.as_object().is_some_and(|keys| !keys.is_empty()) { old } else { fields.within("rope_parameters") };
    of(&inner, fields, fields.number_or("rope_theta", default_theta)?, context)
}

/// How many numbers of a head of `head_dim` are rotated, as `partial_rotary_factor` says it.
pub(super) fn rotated(fields: &Fields<'_>, head_dim: usize, default: f64) -> Result<usize, String> {
    let old = fields.within("rope_scaling").number_or("partial_rotary_factor", f64::NAN)?;
    let inner = fields.within("rope_parameters").number_or("partial_rotary_factor", f64::NAN)?;
    let outer = fields.number_or("partial_rotary_factor", default)?;
    let share = [old, inner].into_iter().find(|share| !share.is_nan()).unwrap_or(outer);
    match share > 0.0 && share <= 1.0 {
        true => Ok((head_dim as f64 * share) as usize),
        false => Err(format!("partial_rotary_factor is {share}")),
    }
}

/// What `inner` says, in a `config.json` of these fields.
pub(super) fn of(inner: &Fields<'_>, fields: &Fields<'_>, theta: f64, context: usize) -> Result<Rope, String> {
    let theta = inner.number_or("rope_theta", theta)?;
    let kind = inner.word_or("rope_type", inner.word_or("type", "default")?)?;
    let original = || -> Result<f64, String> {
        let of = |fields: &Fields<'_>| fields.get("original_max_position_embeddings").and_then(Value::as_f64);
        Ok(of(fields).or_else(|| of(inner)).unwrap_or(context as f64))
    };
    let needed = |key: &str| -> Result<f64, String> {
        match inner.get(key).and_then(Value::as_f64).filter(|x| x.is_finite() && *x > 0.0) {
            Some(number) => Ok(number),
            None => Err(format!("{key} of the rope parameters is missing or no positive number")),
        }
    };
    let scaling = match kind {
        "default" => None,
        "dynamic" => {
            let factor = needed("factor")?;
            if factor * context as f64 > LONGEST {
                return Err(format!("factor {factor} of the rope parameters stretches {context} positions too far"));
            }
            Some(RopeScaling::Dynamic { factor, max_position_embeddings: context })
        }
        "linear" => Some(RopeScaling::Linear { factor: needed("factor")? }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: needed("factor")?,
            low_freq_factor: needed("low_freq_factor")?,
            high_freq_factor: needed("high_freq_factor")?,
            original_max_position_embeddings: original()?,
        }),
        "longrope" => {
            let original = original()?;
            let factor = inner.number_or("factor", context as f64 / original)?;
            let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
            let attention_factor = inner.number_or("attention_factor", usual)?;
            if !(original >= 1.0 && attention_factor.is_finite()) {
                return Err(format!("original_max_position_embeddings {original} of the rope parameters is none"));
            }
            let [short_factor, long_factor] = [factors(inner, "short_factor")?, factors(inner, "long_factor")?];
            let original_max_position_embeddings = original as usize;
            let given = LongRope { short_factor, long_factor, original_max_position_embeddings, attention_factor };
            Some(RopeScaling::LongRope(given.into()))
        }
        "yarn" => {
            let factor = needed("factor")?;
            let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
            let number = |key: &str| inner.get(key).and_then(Value::as_f64).filter(|x| *x != 0.0);
            let attention_factor = match (number("attention_factor"), number("mscale"), number("mscale_all_dim")) {
                (Some(given), ..) => given,
                (None, Some(mscale), Some(all)) => scale(mscale) / scale(all),
                _ => scale(1.0),
            };
            Some(RopeScaling::Yarn(Yarn {
                factor,
                beta_fast: inner.number_or("beta_fast", 32.0)?,
                beta_slow: inner.number_or("beta_slow", 1.0)?,
                truncate: inner.flag_or("truncate", true)?,
                original_max_position_embeddings: original()?,
                attention_factor,
            }))
        }
        other => return Err(format!("rope_type {other} is not computed")),
    };
    if !(theta.is_finite() && theta > 0.0) {
        return Err(format!("rope_theta is {theta}"));
    }
    Ok(Rope { theta, scaling })
}

/// A list of positive numbers.
fn factors(inner: &Fields<'_>, key: &str) -> Result<Vec<f64>, String> {
    let number = |value: &Value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
    let list = inner.get(key).and_then(Value::as_array);
    match list.and_then(|list| list.iter().map(number).collect()) {
        Some(numbers) => Ok(numbers),
        None => Err(format!("{key} of the rope parameters is missing or no list of positive numbers")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_and_new_spellings_say_the_same() {
        let scaling = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 16});
        let with = |key: &str, value: &str| {
            let mut scaling = scaling.clone();
            scaling[key] = value.into();
            scaling
        };
        let mut new = with("rope_type", "llama3");
        new["rope_theta"] = 5e5.into();
        let read = |json: Value| read(&Fields(&json), 1e4, 64).unwrap();
        let want = read(json!({"rope_parameters": new}));
        assert_eq!(want.theta, 5e5);
        assert!(matches!(want.scaling, Some(RopeScaling::Llama3 { factor: 8.0, .. })));
        for old in [with("type", "llama3"), with("rope_type", "llama3")] {
            assert_eq!(read(json!({"rope_theta": 5e5, "rope_scaling": old})), want);
        }
        assert_eq!(read(json!({})), Rope { theta: 1e4, scaling: None });
        assert_eq!(read(json!({"rope_scaling": null, "rope_parameters": {"rope_type": "default"}})).scaling, None);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (json, named) in [
            (json!({"rope_scaling": {"type": "linear"}}), "factor"),
            (json!({"rope_scaling": {"type": "dynamic"}}), "factor"),
            (json!({"rope_scaling": {"type": "dynamic", "factor": 1e300}}), "too far"),
            (json!({"rope_scaling": {"type": "spiral"}}), "spiral"),
            (json!({"rope_theta": 0.0}), "rope_theta"),
            (json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}), "long_factor"),
            (
                json!({"rope_scaling": {"type": "longrope", "short_factor": [-1.0], "long_factor": [1.0]}}),
                "short_factor",
            ),
        ] {
            assert!(read(&Fields(&json), 1e4, 64).unwrap_err().contains(named), "{json}");
        }
    }
}
