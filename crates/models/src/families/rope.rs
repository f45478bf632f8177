//! Rotary positions as `config.json` has them: transformers 5 writes `rope_parameters` with the base inside, earlier
//! versions wrote `rope_theta` and `rope_scaling`, whose kind was once called `type`.

use serde_json::Value;

use super::Fields;
use crate::nn::{Rope, RopeScaling, Yarn};

/// `context` is the longest sequence the model was made for.
pub(super) fn read(fields: &Fields<'_>, default_theta: f64, context: usize) -> Result<Rope, String> {
    let old = fields.within("rope_scaling");
    let inner =
        if old.0.as_object().is_some_and(|keys| !keys.is_empty()) { old } else { fields.within("rope_parameters") };
    of(&inner, fields, fields.number_or("rope_theta", default_theta)?, context)
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
        // It stretches the wavelengths of texts that are longer than the context, which are refused here.
        "dynamic" => None,
        "linear" => Some(RopeScaling::Linear { factor: needed("factor")? }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: needed("factor")?,
            low_freq_factor: needed("low_freq_factor")?,
            high_freq_factor: needed("high_freq_factor")?,
            original_max_position_embeddings: original()?,
        }),
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
            (json!({"rope_scaling": {"type": "spiral"}}), "spiral"),
            (json!({"rope_theta": 0.0}), "rope_theta"),
        ] {
            assert!(read(&Fields(&json), 1e4, 64).unwrap_err().contains(named), "{json}");
        }
    }
}
