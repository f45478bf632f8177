//! Settings whose defaults depend on one of them.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Reads a table: what it leaves out is as in the preset of what its field `chooses` names.
///
/// # Errors
/// The field is none of its values; whatever `read` finds.
pub(super) fn read<'de, D, C, T>(
    deserializer: D,
    chooses: &str,
    preset: impl Fn(C) -> T,
    read: impl Fn(Value) -> Result<T, serde_json::Error>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    C: DeserializeOwned + Default,
    T: Serialize,
{
    let given = Map::deserialize(deserializer)?;
    // JSON has no such number, and nothing here may be null.
    if let Some((name, _)) = given.iter().find(|(_, value)| value.is_null()) {
        return Err(D::Error::custom(format!("{name} is not a finite number")));
    }
    let chosen = given.get(chooses).cloned().map(serde_json::from_value).transpose().map_err(D::Error::custom)?;
    let whole = written(&preset(chosen.unwrap_or_default())).map_err(D::Error::custom)?;
    let with = |fields: Map<String, Value>| {
        let mut whole = whole.clone();
        whole.extend(fields);
        read(whole.into())
    };
    // Each by itself first: an error says which.
    for (name, value) in &given {
        with([(name.clone(), value.clone())].into_iter().collect())
            .map_err(|error| D::Error::custom(format!("{name}: {error}")))?;
    }
    with(given).map_err(D::Error::custom)
}

fn written(settings: &impl Serialize) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(settings)?)
}
