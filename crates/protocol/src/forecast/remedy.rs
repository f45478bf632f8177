//! What would help a run that does not fit.

use serde::{Deserialize, Serialize};

use super::Bytes;

/// A change of settings, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// The settings, such as `batch_size 4 and accumulation 2`.
    pub settings: String,
    /// The memory it would take then.
    pub bytes: u64,
}

/// Remedies in a sentence for who has to act.
pub fn advice(remedies: &[Remedy]) -> String {
    let each = remedies.iter().map(|r| format!("set {} ({})", r.settings, Bytes(r.bytes)));
    match remedies.is_empty() {
        true => "use a smaller model".into(),
        false => each.collect::<Vec<_>>().join(", or "),
    }
}
