//! GaLore: full tuning whose optimiser sees the gradient in a few directions (Zhao et al. 2024, arXiv 2403.03507).

use stratune_protocol::{ModelReport, Module};

use crate::method::{
    Enters, Family, FromData, Merges, Method, Moving, SavedActivations, as_it_is, beside_any, block_by_block,
    shares_nothing,
};
use crate::setting::{INTERVAL, RANK, SCALE, TARGETS};
use crate::size::matrices;
use crate::{MethodConfig, MethodKind, PeftError, UpdateRule};

/// GaLore.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Galore,
    name: "galore",
    title: "GaLore",
    sentence: "Full fine-tuning whose optimiser sees the gradient in a few directions: full updates, small state.",
    trains: "the matrices",
    family: Family::Selective,
    settings: &[TARGETS, RANK.help("of the gradient"), INTERVAL.count(200), SCALE.number(0.25)],
    enters: Enters::InPlace(rule),
    roles: &[],
    merges: Merges::Weights,
    per_layer: true,
    has_layers: true,
    unique: true,
    needs_gradients: true,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 1.0,
    saved_activations: SavedActivations::INPUTS,
    trainable: matrices,
    moving,
    of_its_paper,
    fits: beside_any,
    share: shares_nothing,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn rule(config: &MethodConfig, [outputs, inputs]: [usize; 2]) -> Result<UpdateRule, PeftError> {
    let (rank, smaller) = (config.rank.unwrap_or(0), outputs.min(inputs));
    if rank > smaller {
        return Err(PeftError::RankAboveMatrix { rank, smaller, outputs, inputs });
    }
    let (interval, scale) = (config.interval.unwrap_or(1), config.scale.unwrap_or(1.0));
    Ok(UpdateRule::Projected { rank, interval, scale })
}

/// The moments are those of a few directions.
fn moving(method: &MethodConfig, model: &ModelReport) -> Moving {
    let at = |site: &Module| {
        let [one, other] = site.sides();
        (2 * one.max(other) + one.min(other)) as f64
    };
    let sites = method.sites(model).into_iter().map(at).sum::<f64>();
    Moving { moments: method.rank.unwrap_or(0) as f64 * sites, ..block_by_block(method, model) }
}

/// Zhao et al. 2024, authors' code: 128 directions.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { rank: Some(128), ..usual }
}
