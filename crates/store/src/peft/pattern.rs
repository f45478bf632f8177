//! PEFT's `rank_pattern` and `alpha_pattern`.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use stratune_protocol::Problem;

/// Values by the end of a layer's path, such as `q_proj` or `layers.0.self_attn.q_proj`, in the order of the file:
/// the first that fits counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern<T>(pub Vec<(String, T)>);

impl<T: Copy> Pattern<T> {
    /// The value for the layer at `path`.
    pub fn at(&self, path: &str) -> Option<T> {
        let fits = |key: &str| path.strip_suffix(key).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.0.iter().find(|(key, _)| fits(key)).map(|(_, value)| *value)
    }

    /// PEFT takes the keys for regular expressions; only plain names are understood here.
    pub(crate) fn check(&self, field: &str, at: &str) -> Result<(), Problem> {
        let plain = |key: &str| key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
        match self.0.iter().find(|(key, _)| !plain(key)) {
            None => Ok(()),
            Some((key, _)) => Err(Problem::input(format!("{field} has the regular expression '{key}'"))
                .at(at)
                .next("write out the names of the layers it stands for, one entry each")),
        }
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
                Ok(Pattern(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Pattern(entries))
            }
        }

        deserializer.deserialize_any(InOrder(std::marker::PhantomData))
    }
}
