//! Additive methods: new weights or activations.

use super::Fact;
use crate::Setting::{Gated, Length, Reduction, Samples, Scale, Share, Targets, Width};
use crate::{Enters, Family, Merges};

pub(super) const HOULSBY: Fact = Fact {
    name: "houlsby",
    title: "Adapters (Houlsby)",
    sentence: "A small bottleneck network after the attention and after the feed-forward.",
    trains: "the bottlenecks",
    family: Family::Additive,
    enters: Enters::Block,
    merges: Merges::No,
    peft: None,
    settings: &[Width],
};

pub(super) const PFEIFFER: Fact = Fact {
    name: "pfeiffer",
    title: "Adapters (Pfeiffer)",
    sentence: "A small bottleneck network after the feed-forward.",
    trains: "the bottlenecks",
    family: Family::Additive,
    enters: Enters::Block,
    merges: Merges::No,
    peft: None,
    settings: &[Width, Gated],
};

pub(super) const PARALLEL: Fact = Fact {
    name: "parallel",
    title: "Parallel adapter",
    sentence: "A scaled bottleneck network beside the feed-forward.",
    trains: "the bottlenecks",
    family: Family::Additive,
    enters: Enters::Block,
    merges: Merges::No,
    peft: None,
    settings: &[Width, Scale],
};

pub(super) const COMPACTER: Fact = Fact {
    name: "compacter",
    title: "Compacter",
    sentence: "Bottlenecks whose matrices are sums of Kronecker products with factors that all layers share: very few parameters.",
    trains: "the factors",
    family: Family::Additive,
    enters: Enters::Block,
    merges: Merges::No,
    peft: None,
    settings: &[Width],
};

pub(super) const SPARSE_ADAPTER: Fact = Fact {
    name: "sparse_adapter",
    title: "SparseAdapter",
    sentence: "A wide bottleneck of which only the weights that promise most are kept, chosen from a few rows before training.",
    trains: "the kept weights and the biases",
    family: Family::Additive,
    enters: Enters::Block,
    merges: Merges::No,
    peft: None,
    settings: &[Width, Share, Samples],
};

pub(super) const PREFIX: Fact = Fact {
    name: "prefix",
    title: "Prefix tuning / P-tuning v2",
    sentence: "Learned keys and values before the text in every layer.",
    trains: "the keys and values",
    family: Family::Additive,
    enters: Enters::Attention,
    merges: Merges::No,
    peft: Some("PREFIX_TUNING"),
    settings: &[Length, Width, Gated],
};

pub(super) const PROMPT: Fact = Fact {
    name: "prompt",
    title: "Prompt tuning",
    sentence: "Learned embeddings before the text, at the input only.",
    trains: "the embeddings",
    family: Family::Additive,
    enters: Enters::Input,
    merges: Merges::No,
    peft: Some("PROMPT_TUNING"),
    settings: &[Length],
};

pub(super) const IA3: Fact = Fact {
    name: "ia3",
    title: "(IA)³",
    sentence: "Vectors that scale keys, values and the feed-forward's inside.",
    trains: "the vectors",
    family: Family::Additive,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("IA3"),
    settings: &[Targets],
};

pub(super) const SSF: Fact = Fact {
    name: "ssf",
    title: "SSF",
    sentence: "Each output is scaled and shifted.",
    trains: "scales and shifts",
    family: Family::Additive,
    enters: Enters::Linear,
    merges: Merges::Biases,
    peft: None,
    settings: &[Targets],
};

pub(super) const LADDER: Fact = Fact {
    name: "ladder",
    title: "Ladder side-tuning (LST)",
    sentence: "A small network beside the model reads its layers; nothing is sent back through the model.",
    trains: "the side network",
    family: Family::Additive,
    enters: Enters::Side,
    merges: Merges::No,
    peft: None,
    settings: &[Reduction],
};
