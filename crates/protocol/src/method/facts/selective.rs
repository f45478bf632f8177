//! Selective methods: some of the model's own weights.

use super::Fact;
use crate::Setting::{Blocks, Interval, Penalty, Rank, Samples, Scale, Share, Targets};
use crate::{Enters, Family, Merges};

pub(super) const BITFIT: Fact = Fact {
    name: "bitfit",
    title: "BitFit",
    sentence: "Only biases train; a model without them gets zeros first.",
    trains: "biases",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Biases,
    peft: None,
    settings: &[Targets],
};

pub(super) const LAYER_NORM: Fact = Fact {
    name: "layer_norm",
    title: "Layer-norm tuning",
    sentence: "Only the gains of the norms train.",
    trains: "norm gains",
    family: Family::Selective,
    enters: Enters::Norm,
    merges: Merges::Weights,
    peft: Some("LN_TUNING"),
    settings: &[],
};

pub(super) const PAFI: Fact = Fact {
    name: "pafi",
    title: "PaFi",
    sentence: "The smallest weights train and the rest stays; the choice needs no data.",
    trains: "the smallest weights",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Share],
};

pub(super) const RANDOM_MASK: Fact = Fact {
    name: "random_mask",
    title: "Random mask",
    sentence: "Weights drawn at random train: what a chosen mask has to beat.",
    trains: "some weights",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Share],
};

pub(super) const SHIRA: Fact = Fact {
    name: "shira",
    title: "SHiRA",
    sentence: "Weights drawn at random train, as many as a LoRA of the rank has: a small update of high rank.",
    trains: "some weights",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: Some("SHIRA"),
    settings: &[Targets, Rank],
};

pub(super) const FISH: Fact = Fact {
    name: "fish",
    title: "FISH mask",
    sentence: "The weights with the largest Fisher information on some rows train and the rest stays.",
    trains: "some weights",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Share, Samples],
};

pub(super) const LT_SFT: Fact = Fact {
    name: "lt_sft",
    title: "Lottery-ticket tuning (LT-SFT)",
    sentence: "Everything trains for a while; what moved most is put back and trains alone.",
    trains: "some weights",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Share, Samples],
};

pub(super) const DIFF_PRUNING: Fact = Fact {
    name: "diff_pruning",
    title: "Diff pruning",
    sentence: "A difference for each weight and a switch that a penalty closes; the largest share of it is kept.",
    trains: "differences and switches",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Share, Penalty],
};

pub(super) const CHILD_TUNING: Fact = Fact {
    name: "child_tuning",
    title: "Child-tuning (F)",
    sentence: "Full fine-tuning in which each step drops most of the gradient at random.",
    trains: "the matrices",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Share],
};

pub(super) const LISA: Fact = Fact {
    name: "lisa",
    title: "LISA",
    sentence: "A few whole layers at a time train, drawn anew at intervals, and embeddings and head always.",
    trains: "whole layers, embeddings, head",
    family: Family::Selective,
    enters: Enters::Whole,
    merges: Merges::Weights,
    peft: None,
    settings: &[Blocks, Interval],
};

pub(super) const GALORE: Fact = Fact {
    name: "galore",
    title: "GaLore",
    sentence: "Full fine-tuning whose optimiser sees the gradient in a few directions: full updates, small state.",
    trains: "the matrices",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets, Rank, Interval, Scale],
};

pub(super) const FULL: Fact = Fact {
    name: "full",
    title: "Full fine-tuning",
    sentence: "Whole matrices train: the yardstick.",
    trains: "the matrices",
    family: Family::Selective,
    enters: Enters::Linear,
    merges: Merges::Weights,
    peft: None,
    settings: &[Targets],
};
