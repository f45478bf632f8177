//! Lists of methods that papers gave a name.

use crate::{MethodConfig, MethodKind, Methods, Problem};

/// A combination with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodPreset {
    /// MAM adapter (He et al. 2022, arXiv 2110.04366): a prefix of 30 and a scaled parallel adapter.
    Mam,
}

impl MethodPreset {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Mam];

    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mam => "mam",
        }
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mam => "MAM adapter",
        }
    }

    /// One sentence for who chooses.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Mam => "Prefixes in the attention and a parallel adapter beside the feed-forward.",
        }
    }

    /// The methods it lists.
    pub fn methods(self) -> Methods {
        match self {
            Self::Mam => Methods(vec![
                MethodConfig { length: Some(30), ..MethodConfig::new(MethodKind::Prefix) },
                MethodConfig { width: Some(64), scale: Some(4.0), ..MethodConfig::new(MethodKind::Parallel) },
            ]),
        }
    }
}

impl std::str::FromStr for Methods {
    type Err = Problem;

    /// A method's name, a combination's, or several with commas between: `lora,bitfit`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut methods = Vec::new();
        for name in text.split(',').map(str::trim) {
            match MethodPreset::ALL.into_iter().find(|p| p.name() == name.to_lowercase()) {
                Some(preset) => methods.extend(preset.methods().0),
                None => methods.push(MethodConfig::new(name.parse()?)),
            }
        }
        Ok(Self(methods))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::IstMode;

    #[test]
    fn names_become_lists() {
        for preset in MethodPreset::ALL {
            let methods: Methods = preset.name().parse().unwrap();
            methods.check(IstMode::Practical).unwrap();
            assert_eq!(methods, preset.methods());
        }
        let kinds = |text: &str| text.parse::<Methods>().unwrap().iter().map(|m| m.kind).collect::<Vec<_>>();
        assert_eq!(kinds("lora"), [MethodKind::Lora]);
        assert_eq!(kinds("lora+, bitfit"), [MethodKind::LoraPlus, MethodKind::Bitfit]);
        assert!("loora".parse::<Methods>().is_err());
    }
}
