//! The names of methods.

use stratune_protocol::Problem;

use crate::MethodKind;

impl MethodKind {
    /// As configurations write it, such as `lora_plus`.
    pub fn name(self) -> &'static str {
        self.method().name
    }

    /// As people write it, such as `LoRA+`.
    pub fn title(self) -> &'static str {
        self.method().title
    }
}

impl std::fmt::Display for MethodKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for MethodKind {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let plain = |name: &str| name.to_lowercase().replace(['-', '_', '+'], "");
        let text_plain = plain(&text.replace('+', "plus"));
        Self::ALL.into_iter().find(|kind| plain(kind.name()) == text_plain).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Problem::input(format!("unknown method '{text}'")).next(format!("use one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_configurations_write_and_are_read_back() {
        for kind in MethodKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.name().parse::<MethodKind>().unwrap(), kind);
            assert!(kind.method().sentence.ends_with('.') && !kind.title().is_empty(), "{kind}");
        }
        for (text, kind) in [("LoRA+", MethodKind::LoraPlus), ("lora-fa", MethodKind::LoraFa)] {
            assert_eq!(text.parse::<MethodKind>().unwrap(), kind);
        }
        assert!("loora".parse::<MethodKind>().unwrap_err().next.contains("bitfit"));
    }

    #[test]
    fn families_stand_together() {
        let families: Vec<_> = MethodKind::ALL.iter().map(|kind| kind.method().family).collect();
        let mut sorted = families.clone();
        sorted.sort();
        assert_eq!(families, sorted);
    }
}
