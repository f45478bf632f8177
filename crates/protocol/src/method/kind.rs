//! The table of the methods.

use serde::{Deserialize, Serialize};

use crate::{Problem, Setting, Target};

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
    Prefix,
    Prompt,
    Ia3,
    Ssf,
    Bitfit,
    LayerNorm,
    Pafi,
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

/// What is known of a method.
struct Fact {
    /// As configurations write it.
    name: &'static str,
    /// As people write it.
    title: &'static str,
    /// One sentence for who chooses.
    sentence: &'static str,
    /// What of it trains.
    trains: &'static str,
    family: Family,
    enters: Enters,
    merges: Merges,
    /// Hugging Face PEFT's name for it, if PEFT has it.
    peft: Option<&'static str>,
    settings: &'static [Setting],
}

use Setting::{Alpha, Dimension, Dropout, Length, Overrides, Projection, Rank, Ratio, Scale, Share, Targets, Width};

const LOW_RANK: &[Setting] = &[Targets, Rank, Alpha, Dropout, Overrides];

impl MethodKind {
    /// All of them, by family.
    pub const ALL: [Self; 23] = [
        Self::Lora,
        Self::Rslora,
        Self::LoraPlus,
        Self::LoraFa,
        Self::Pissa,
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
        Self::Prefix,
        Self::Prompt,
        Self::Ia3,
        Self::Ssf,
        Self::Bitfit,
        Self::LayerNorm,
        Self::Pafi,
        Self::Full,
    ];

    fn fact(self) -> Fact {
        let reparameterised =
            |name: &'static str, title, sentence, trains, merges: Merges, peft, settings: &'static [Setting]| Fact {
                name,
                title,
                sentence,
                trains,
                family: Family::Reparameterised,
                enters: Enters::Linear,
                merges,
                peft,
                settings,
            };
        let other = |family, enters, name: &'static str, title, sentence, trains, merges, peft, settings| Fact {
            name,
            title,
            sentence,
            trains,
            family,
            enters,
            merges,
            peft,
            settings,
        };
        match self {
            Self::Lora => reparameterised(
                "lora",
                "LoRA",
                "A low-rank update beside each matrix: the usual choice.",
                "A and B",
                Merges::Weights,
                Some("LORA"),
                LOW_RANK,
            ),
            Self::Rslora => reparameterised(
                "rslora",
                "rsLoRA",
                "LoRA scaled by alpha / √rank, so that high ranks still learn.",
                "A and B",
                Merges::Weights,
                Some("LORA"),
                LOW_RANK,
            ),
            Self::LoraPlus => reparameterised(
                "lora_plus",
                "LoRA+",
                "LoRA whose B learns faster than its A.",
                "A and B",
                Merges::Weights,
                Some("LORA"),
                &[Targets, Rank, Alpha, Dropout, Overrides, Ratio],
            ),
            Self::LoraFa => reparameterised(
                "lora_fa",
                "LoRA-FA",
                "LoRA whose A stays as drawn: half the parameters, fewer activations kept.",
                "B",
                Merges::Weights,
                Some("LORA"),
                LOW_RANK,
            ),
            Self::Pissa => reparameterised(
                "pissa",
                "PiSSA",
                "LoRA that starts from the matrix's own largest directions: learns faster.",
                "A and B",
                Merges::Weights,
                Some("LORA"),
                LOW_RANK,
            ),
            Self::Dylora => reparameterised(
                "dylora",
                "DyLoRA",
                "LoRA trained at every rank up to its own at once, so that any of them can be cut out afterwards.",
                "A and B",
                Merges::Weights,
                Some("LORA"),
                LOW_RANK,
            ),
            Self::Dora => reparameterised(
                "dora",
                "DoRA",
                "LoRA for the direction of each row and a number for its length.",
                "A, B and the magnitudes",
                Merges::Weights,
                Some("LORA"),
                LOW_RANK,
            ),
            Self::Vera => reparameterised(
                "vera",
                "VeRA",
                "Two vectors scale a random update that all layers share: very few parameters.",
                "λ_b and λ_d",
                Merges::Weights,
                Some("VERA"),
                &[Targets, Rank, Dropout],
            ),
            Self::Lokr => reparameterised(
                "lokr",
                "LoKr / KronA",
                "The update is a Kronecker product of two small matrices: high rank from few numbers.",
                "both factors",
                Merges::Weights,
                Some("LOKR"),
                &[Targets, Rank, Alpha],
            ),
            Self::Did => reparameterised(
                "did",
                "Intrinsic dimension (DID)",
                "A handful of numbers steers all weights through fixed random directions.",
                "v",
                Merges::Weights,
                None,
                &[Targets, Dimension, Projection],
            ),
            Self::Said => reparameterised(
                "said",
                "Intrinsic dimension (SAID)",
                "As DID, with one strength for each matrix.",
                "v and one λ a matrix",
                Merges::Weights,
                None,
                &[Targets, Dimension, Projection],
            ),
            Self::Hiwi => reparameterised(
                "hiwi",
                "HiWi",
                "A small network produces new biases of the feed-forward layers and is thrown away afterwards.",
                "the network on the biases",
                Merges::Biases,
                None,
                &[Rank],
            ),
            Self::Houlsby => other(
                Family::Additive,
                Enters::Block,
                "houlsby",
                "Adapters (Houlsby)",
                "A small bottleneck network after the attention and after the feed-forward.",
                "the bottlenecks",
                Merges::No,
                None,
                &[Width],
            ),
            Self::Pfeiffer => other(
                Family::Additive,
                Enters::Block,
                "pfeiffer",
                "Adapters (Pfeiffer)",
                "A small bottleneck network after the feed-forward.",
                "the bottlenecks",
                Merges::No,
                None,
                &[Width],
            ),
            Self::Parallel => other(
                Family::Additive,
                Enters::Block,
                "parallel",
                "Parallel adapter",
                "A scaled bottleneck network beside the feed-forward.",
                "the bottlenecks",
                Merges::No,
                None,
                &[Width, Scale],
            ),
            Self::Prefix => other(
                Family::Additive,
                Enters::Attention,
                "prefix",
                "Prefix tuning / P-tuning v2",
                "Learned keys and values before the text in every layer.",
                "the keys and values",
                Merges::No,
                Some("PREFIX_TUNING"),
                &[Length, Width],
            ),
            Self::Prompt => other(
                Family::Additive,
                Enters::Input,
                "prompt",
                "Prompt tuning",
                "Learned embeddings before the text, at the input only.",
                "the embeddings",
                Merges::No,
                Some("PROMPT_TUNING"),
                &[Length],
            ),
            Self::Ia3 => other(
                Family::Additive,
                Enters::Linear,
                "ia3",
                "(IA)³",
                "Vectors that scale keys, values and the feed-forward's inside.",
                "the vectors",
                Merges::Weights,
                Some("IA3"),
                &[Targets],
            ),
            Self::Ssf => other(
                Family::Additive,
                Enters::Linear,
                "ssf",
                "SSF",
                "Each output is scaled and shifted.",
                "scales and shifts",
                Merges::Biases,
                None,
                &[Targets],
            ),
            Self::Bitfit => other(
                Family::Selective,
                Enters::Linear,
                "bitfit",
                "BitFit",
                "Only biases train; a model without them gets zeros first.",
                "biases",
                Merges::Biases,
                None,
                &[Targets],
            ),
            Self::LayerNorm => other(
                Family::Selective,
                Enters::Norm,
                "layer_norm",
                "Layer-norm tuning",
                "Only the gains of the norms train.",
                "norm gains",
                Merges::Weights,
                Some("LN_TUNING"),
                &[],
            ),
            Self::Pafi => other(
                Family::Selective,
                Enters::Linear,
                "pafi",
                "PaFi",
                "The smallest weights train and the rest stays; the choice needs no data.",
                "the smallest weights",
                Merges::Weights,
                None,
                &[Targets, Share],
            ),
            Self::Full => other(
                Family::Selective,
                Enters::Linear,
                "full",
                "Full fine-tuning",
                "Whole matrices train: the yardstick, and with random IST what LISA does.",
                "the matrices",
                Merges::Weights,
                None,
                &[Targets],
            ),
        }
    }

    /// As configurations write it, such as `lora_plus`.
    pub fn name(self) -> &'static str {
        self.fact().name
    }

    /// As people write it, such as `LoRA+`.
    pub fn title(self) -> &'static str {
        self.fact().title
    }

    /// One sentence for who chooses.
    pub fn sentence(self) -> &'static str {
        self.fact().sentence
    }

    /// What of it trains.
    pub fn trains(self) -> &'static str {
        self.fact().trains
    }

    /// Its branch.
    pub fn family(self) -> Family {
        self.fact().family
    }

    /// Where it enters.
    pub fn enters(self) -> Enters {
        self.fact().enters
    }

    /// What is left of it when the model serves.
    pub fn merges(self) -> Merges {
        self.fact().merges
    }

    /// Hugging Face PEFT's name for it, if PEFT has it.
    pub fn peft(self) -> Option<&'static str> {
        self.fact().peft
    }

    /// The settings it has, besides `layers`.
    pub fn settings(self) -> &'static [Setting] {
        self.fact().settings
    }

    /// Whether every block has trainable numbers of its own: what IST chooses among.
    pub fn per_layer(self) -> bool {
        !matches!(self, Self::Did | Self::Said | Self::Prompt)
    }

    /// The learning rate that suits it, over LoRA's: methods of few numbers take larger steps, full tuning smaller ones.
    pub fn usual_rate(self) -> f64 {
        match self {
            Self::Full | Self::Pafi => 0.3,
            Self::Lora
            | Self::Rslora
            | Self::LoraPlus
            | Self::LoraFa
            | Self::Pissa
            | Self::Dylora
            | Self::Dora
            | Self::Houlsby
            | Self::Pfeiffer
            | Self::Parallel => 1.0,
            Self::Vera | Self::Lokr | Self::Hiwi | Self::Bitfit | Self::LayerNorm | Self::Ia3 | Self::Ssf => 3.0,
            Self::Did | Self::Said | Self::Prefix | Self::Prompt => 10.0,
        }
    }

    /// The targets that it can enter; none if it has no targets.
    pub fn possible_targets(self) -> &'static [Target] {
        if !self.settings().contains(&Targets) {
            return &[];
        }
        &Target::ALL
    }

    /// The targets that it enters unless told otherwise.
    pub fn usual_targets(self) -> &'static [Target] {
        match self {
            Self::Ia3 => &[Target::KProj, Target::VProj, Target::DownProj],
            _ => self.possible_targets(),
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
