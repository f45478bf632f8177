//! PEFT's `rank_pattern` and `alpha_pattern`.

use std::fmt;

use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use stratune_protocol::Problem;

/// The two patterns of an `adapter_config.json`. They are read from its text: the order of their entries counts.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Patterns {
    #[serde(default, rename = "rank_pattern")]
    pub ranks: Pattern<usize>,
    #[serde(default, rename = "alpha_pattern")]
    pub alphas: Pattern<f32>,
}

impl Patterns {
    /// Out of the text of `adapter_config.json`.
    pub fn read(text: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(text).map_err(|e| {
            Problem::input(format!("rank_pattern or alpha_pattern cannot be read: {e}"))
                .next("export the adapter again")
        })
    }
}

/// Values by layer, in the order of the file. As in PEFT a key is a regular expression for the end of a layer's path,
/// behind a dot, and the first that fits counts.
#[derive(Debug)]
pub(crate) struct Pattern<T>(Vec<(Regex, T)>);

impl<T> Default for Pattern<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Pattern<T> {
    /// The value for the layer at `path`.
    pub fn at(&self, path: &str) -> Option<T> {
        self.0.iter().find(|(key, _)| key.is_match(path)).map(|(_, value)| *value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pattern<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Pattern<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of values by layer name")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Pattern::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{key})$"))
                        .map_err(|e| serde::de::Error::custom(format!("'{key}' is no regular expression: {e}")))?;
                    entries.push((regex, value));
                }
                Ok(Pattern(entries))
            }
        }

        deserializer.deserialize_any(InOrder(std::marker::PhantomData))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// As PEFT's `get_pattern_key` decides: `re.match(rf"(.*\.)?({key})$", path)`, the first in the order of the file.
    #[test]
    fn the_first_that_fits_counts() {
        let text = br#"{"rank_pattern": {"layers.1.self_attn.q_proj": 16, "q_proj": 2, ".*k_pro.": 3, "layers.2.self_attn.q_proj": 8},
            "alpha_pattern": null}"#;
        let patterns = Patterns::read(text).unwrap();
        for (path, rank) in [
            ("model.layers.0.self_attn.q_proj", Some(2)),
            ("model.layers.1.self_attn.q_proj", Some(16)),
            ("model.layers.11.self_attn.q_proj", Some(2)),
            ("model.layers.2.self_attn.q_proj", Some(2)),
            ("model.layers.2.self_attn.k_proj", Some(3)),
            ("model.layers.2.self_attn.v_proj", None),
            ("model.layers.2.self_attn.xq_proj", None),
        ] {
            assert_eq!(patterns.ranks.at(path), rank, "{path}");
            assert_eq!(patterns.alphas.at(path), None);
        }
        let problem = Patterns::read(br#"{"alpha_pattern": {"(q": 2}}"#).unwrap_err();
        assert!(problem.what.contains("'(q' is no regular expression"), "{problem}");
    }
}
