//! Ladder side-tuning: a small network beside the model (Sung et al. 2022, arXiv 2206.06522). What it computes is in
//! `stratune_models::Ladder`, which is made of the model's own blocks.

use stratune_protocol::{IstMode, ModelReport, Problem};

use crate::method::{
    Enters, Family, FromData, Merges, Method, SavedActivations, as_a_whole, as_it_is, as_usual, shares_nothing,
};
use crate::setting::REDUCTION;
use crate::{MethodConfig, MethodKind, Methods};

/// Ladder side-tuning (LST).
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Ladder,
    name: "ladder",
    title: "Ladder side-tuning (LST)",
    sentence: "A small network beside the model reads its layers; nothing is sent back through the model.",
    trains: "the side network",
    family: Family::Additive,
    settings: &[REDUCTION],
    enters: Enters::Side,
    roles: &[],
    merges: Merges::No,
    per_layer: false,
    has_layers: false,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 1.0,
    saved_activations: SavedActivations::OUTSIDE,
    trainable,
    moving: as_a_whole,
    of_its_paper: as_usual,
    fits,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    SideShape::of(model, method.reduction.unwrap_or(1)).map_or(0, |side| side.numbers(model))
}

fn fits(methods: &Methods, _: IstMode) -> Result<(), Problem> {
    match methods.iter().map(|m| m.kind).find(|kind| *kind != METHOD.kind) {
        None => Ok(()),
        Some(other) => {
            Err(Problem::input(format!("a ladder reads the model as it is, and takes no {other} beside it"))
                .at("method")
                .next("list it alone"))
        }
    }
}

/// The geometry of a ladder's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideShape {
    /// Width of its residual stream.
    pub hidden_size: usize,
    /// Width of its feed-forward.
    pub intermediate_size: usize,
    /// Its attention's heads: the most that leave each an even width.
    pub heads: usize,
}

impl SideShape {
    /// A model's, `reduction` times narrower; none if that leaves no even width.
    pub fn of(model: &ModelReport, reduction: usize) -> Option<Self> {
        let hidden_size = model.hidden_size.checked_div(reduction)? / 2 * 2;
        let intermediate_size = (model.intermediate_size / reduction).max(1);
        let heads = (1..=4).rev().find(|h| hidden_size.is_multiple_of(2 * h))?;
        (hidden_size > 0).then_some(Self { hidden_size, intermediate_size, heads })
    }

    /// Numbers in blocks, gates, and the ways in and out.
    fn numbers(self, model: &ModelReport) -> u64 {
        let (w, m, d, layers) =
            (self.hidden_size as u64, self.intermediate_size as u64, model.hidden_size as u64, model.layers as u64);
        layers * (4 * w * w + 3 * w * m + 2 * w) + (layers + 1) * w * d + layers + d * w
    }
}
