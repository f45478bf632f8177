//! Reparameterised methods: the update of a weight is written with fewer numbers.

use super::Fact;
use crate::Setting::{
    Alpha, Bits, Dimension, Dropout, Gated, InitialRank, Interval, Overrides, Penalty, Projection, Rank, Ratio, Targets,
};
use crate::{Enters, Family, Merges, Setting};

const LOW_RANK: &[Setting] = &[Targets, Rank, Alpha, Dropout, Overrides];

pub(super) const LORA: Fact = Fact {
    name: "lora",
    title: "LoRA",
    sentence: "A low-rank update beside each matrix: the usual choice.",
    trains: "A and B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: &[Targets, Rank, Alpha, Dropout, Overrides, Gated],
};

pub(super) const RSLORA: Fact = Fact {
    name: "rslora",
    title: "rsLoRA",
    sentence: "LoRA scaled by alpha / √rank, so that high ranks still learn.",
    trains: "A and B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: LOW_RANK,
};

pub(super) const LORA_PLUS: Fact = Fact {
    name: "lora_plus",
    title: "LoRA+",
    sentence: "LoRA whose B learns faster than its A.",
    trains: "A and B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: &[Targets, Rank, Alpha, Dropout, Overrides, Ratio],
};

pub(super) const LORA_FA: Fact = Fact {
    name: "lora_fa",
    title: "LoRA-FA",
    sentence: "LoRA whose A stays as drawn: half the parameters, fewer activations kept.",
    trains: "B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: LOW_RANK,
};

pub(super) const PISSA: Fact = Fact {
    name: "pissa",
    title: "PiSSA",
    sentence: "LoRA that starts from the matrix's own largest directions: learns faster.",
    trains: "A and B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: LOW_RANK,
};

pub(super) const QLORA: Fact = Fact {
    name: "qlora",
    title: "QLoRA",
    sentence: "LoRA on a base whose matrices are kept in 4 or 8 bits.",
    trains: "A and B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: &[Targets, Rank, Alpha, Dropout, Overrides, Bits],
};

pub(super) const LOFTQ: Fact = Fact {
    name: "loftq",
    title: "LoftQ",
    sentence: "QLoRA whose update starts at what the few bits have lost.",
    trains: "A and B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: &[Targets, Rank, Alpha, Dropout, Overrides, Bits],
};

pub(super) const ADALORA: Fact = Fact {
    name: "adalora",
    title: "AdaLoRA",
    sentence: "LoRA whose ranks move to the matrices that need them while a budget shrinks.",
    trains: "A, B and a gain for each direction",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("ADALORA"),
    settings: &[Targets, Rank, InitialRank, Alpha, Dropout, Penalty, Interval],
};

pub(super) const DYLORA: Fact = Fact {
    name: "dylora",
    title: "DyLoRA",
    sentence: "LoRA trained at every rank up to its own at once, so that any of them can be cut out afterwards.",
    trains: "A and B",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: LOW_RANK,
};

pub(super) const DORA: Fact = Fact {
    name: "dora",
    title: "DoRA",
    sentence: "LoRA for the direction of each row and a number for its length.",
    trains: "A, B and the magnitudes",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LORA"),
    settings: LOW_RANK,
};

pub(super) const VERA: Fact = Fact {
    name: "vera",
    title: "VeRA",
    sentence: "Two vectors scale a random update that all layers share: very few parameters.",
    trains: "λ_b and λ_d",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("VERA"),
    settings: &[Targets, Rank, Dropout],
};

pub(super) const LOKR: Fact = Fact {
    name: "lokr",
    title: "LoKr / KronA",
    sentence: "The update is a Kronecker product of two small matrices: high rank from few numbers.",
    trains: "both factors",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("LOKR"),
    settings: &[Targets, Rank, Alpha],
};

pub(super) const DID: Fact = Fact {
    name: "did",
    title: "Intrinsic dimension (DID)",
    sentence: "A handful of numbers steers all weights through fixed random directions.",
    trains: "v",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Dimension, Projection],
};

pub(super) const SAID: Fact = Fact {
    name: "said",
    title: "Intrinsic dimension (SAID)",
    sentence: "As DID, with one strength for each matrix.",
    trains: "v and one λ a matrix",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Dimension, Projection],
};

pub(super) const HIWI: Fact = Fact {
    name: "hiwi",
    title: "HiWi",
    sentence: "A small network produces new biases of the feed-forward layers and is thrown away afterwards.",
    trains: "the network on the biases",
    family: Family::Reparameterised,
    enters: Enters::Linear,
    merges: Merges::Biases,
    peft: None,
    settings: &[Rank],
};
