//! The table of the methods.

use serde::{Deserialize, Serialize};

use super::facts;
use crate::{Problem, Setting, Targets};

/// A method of the literature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum MethodKind {
    #[default]
    Lora,
    Rslora,
    LoraPlus,
    LoraFa,
    Pissa,
    Qlora,
    Loftq,
    Adalora,
    Dylora,
    Dora,
    Vera,
    Lokr,
    Did,
    Said,
    Hiwi,
    Houlsby,
    Pfeiffer,
    Parallel,
    Compacter,
    SparseAdapter,
    Prefix,
    Prompt,
    Ia3,
    Ssf,
    Ladder,
    Bitfit,
    LayerNorm,
    Pafi,
    RandomMask,
    Shira,
    Fish,
    LtSft,
    DiffPruning,
    ChildTuning,
    Lisa,
    Galore,
    Full,
}

/// The branches of the survey (Han et al. 2024, arXiv 2403.14608).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The update of a weight is written with fewer numbers.
    Reparameterised,
    /// New weights or activations.
    Additive,
    /// Some of the model's own weights.
    Selective,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reparameterised, Self::Additive, Self::Selective];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reparameterised => "reparameterised",
            Self::Additive => "additive",
            Self::Selective => "selective",
        }
    }
}

/// Where a method enters the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enters {
    /// The linear layers of the blocks.
    Linear,
    /// A block, after or beside its attention and feed-forward.
    Block,
    /// The keys and values of the attention.
    Attention,
    /// The norms of the blocks.
    Norm,
    /// The model's input.
    Input,
    /// Beside the model, reading its blocks.
    Side,
    /// All of the model.
    Whole,
}

impl Enters {
    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear layers",
            Self::Block => "around attention and feed-forward",
            Self::Attention => "keys and values",
            Self::Norm => "norms",
            Self::Input => "before the embedded text",
            Self::Side => "beside the blocks",
            Self::Whole => "everywhere",
        }
    }
}

/// What is left of a method when the model serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merges {
    /// Into the weights: nothing.
    Weights,
    /// Into weights and biases: additions of a vector at each layer it entered.
    Biases,
    /// Not at all: it runs beside the model.
    No,
}

impl Merges {
    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "yes",
            Self::Biases => "yes, as biases",
            Self::No => "no",
        }
    }
}

impl MethodKind {
    /// All of them, by family.
    pub const ALL: [Self; 37] = [
        Self::Lora,
        Self::Rslora,
        Self::LoraPlus,
        Self::LoraFa,
        Self::Pissa,
        Self::Qlora,
        Self::Loftq,
        Self::Adalora,
        Self::Dylora,
        Self::Dora,
        Self::Vera,
        Self::Lokr,
        Self::Did,
        Self::Said,
        Self::Hiwi,
        Self::Houlsby,
        Self::Pfeiffer,
        Self::Parallel,
        Self::Compacter,
        Self::SparseAdapter,
        Self::Prefix,
        Self::Prompt,
        Self::Ia3,
        Self::Ssf,
        Self::Ladder,
        Self::Bitfit,
        Self::LayerNorm,
        Self::Pafi,
        Self::RandomMask,
        Self::Shira,
        Self::Fish,
        Self::LtSft,
        Self::DiffPruning,
        Self::ChildTuning,
        Self::Lisa,
        Self::Galore,
        Self::Full,
    ];

    /// As configurations write it, such as `lora_plus`.
    pub fn name(self) -> &'static str {
        facts::of(self).name
    }

    /// As people write it, such as `LoRA+`.
    pub fn title(self) -> &'static str {
        facts::of(self).title
    }

    /// One sentence for who chooses.
    pub fn sentence(self) -> &'static str {
        facts::of(self).sentence
    }

    /// What of it trains.
    pub fn trains(self) -> &'static str {
        facts::of(self).trains
    }

    /// Its branch.
    pub fn family(self) -> Family {
        facts::of(self).family
    }

    /// Where it enters.
    pub fn enters(self) -> Enters {
        facts::of(self).enters
    }

    /// What is left of it when the model serves.
    pub fn merges(self) -> Merges {
        facts::of(self).merges
    }

    /// Hugging Face PEFT's name for it, if PEFT has it.
    pub fn peft(self) -> Option<&'static str> {
        facts::of(self).peft
    }

    /// The settings it has, besides `layers`.
    pub fn settings(self) -> &'static [Setting] {
        facts::of(self).settings
    }

    /// Whether every block has trainable numbers of its own: what IST chooses among. LISA has, and draws them itself.
    pub fn per_layer(self) -> bool {
        !matches!(self, Self::Did | Self::Said | Self::Prompt | Self::Ladder | Self::Lisa)
    }

    /// Whether it may enter some layers and not others.
    pub fn has_layers(self) -> bool {
        !matches!(self, Self::Prompt | Self::Ladder | Self::Lisa)
    }

    /// Whether it trains the model's own tensors in place: IST cannot damp what is not apart from the base.
    pub fn in_place(self) -> bool {
        matches!(self, Self::Full | Self::ChildTuning | Self::Lisa | Self::Galore)
    }

    /// Whether rows of the data decide what trains, before training begins.
    pub fn scouts(self) -> bool {
        matches!(self, Self::Fish | Self::LtSft | Self::SparseAdapter)
    }

    /// Whether rows of the data decide where its numbers start.
    pub fn starts_from_data(self) -> bool {
        self.scouts() || self == Self::Prefix
    }

    /// Whether its base is kept in few bits.
    pub fn quantises(self) -> bool {
        matches!(self, Self::Qlora | Self::Loftq)
    }

    /// The learning rate that suits it, over LoRA's: methods of few numbers take larger steps, full tuning smaller ones.
    pub fn usual_rate(self) -> f64 {
        match self {
            Self::Full
            | Self::Pafi
            | Self::RandomMask
            | Self::Shira
            | Self::Fish
            | Self::LtSft
            | Self::DiffPruning
            | Self::ChildTuning
            | Self::Lisa => 0.3,
            Self::Lora
            | Self::Rslora
            | Self::LoraPlus
            | Self::LoraFa
            | Self::Pissa
            | Self::Qlora
            | Self::Loftq
            | Self::Adalora
            | Self::Dylora
            | Self::Dora
            | Self::Houlsby
            | Self::Pfeiffer
            | Self::Parallel
            | Self::SparseAdapter
            | Self::Ladder
            | Self::Galore => 1.0,
            Self::Vera
            | Self::Lokr
            | Self::Hiwi
            | Self::Compacter
            | Self::Bitfit
            | Self::LayerNorm
            | Self::Ia3
            | Self::Ssf => 3.0,
            Self::Did | Self::Said | Self::Prefix | Self::Prompt => 10.0,
        }
    }

    /// The targets that it enters unless told otherwise, if it has targets.
    pub fn usual_targets(self) -> Targets {
        match self {
            Self::Ia3 => Targets::listed(&["key", "value", "down"]),
            _ => Targets::AllLinear,
        }
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
            assert!(kind.sentence().ends_with('.') && !kind.title().is_empty(), "{kind}");
        }
        for (text, kind) in [("LoRA+", MethodKind::LoraPlus), ("lora-fa", MethodKind::LoraFa)] {
            assert_eq!(text.parse::<MethodKind>().unwrap(), kind);
        }
        assert!("loora".parse::<MethodKind>().unwrap_err().next.contains("bitfit"));
    }

    #[test]
    fn families_stand_together() {
        let families: Vec<_> = MethodKind::ALL.iter().map(|kind| kind.family()).collect();
        let mut sorted = families.clone();
        sorted.sort();
        assert_eq!(families, sorted);
    }
}
