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
    let chosen = given.get(chooses).cloned().map(serde_json::from_value).transpose().map_err(D::Error::custom)?;
    let mut whole = serde_json::to_value(preset(chosen.unwrap_or_default())).map_err(D::Error::custom)?;
    if let Value::Object(whole) = &mut whole {
        whole.extend(given);
    }
    read(whole).map_err(D::Error::custom)
}
