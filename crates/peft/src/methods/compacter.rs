//! Compacter: adapters as Houlsby's whose matrices are `Σᵢ Aᵢ ⊗ (sᵢ tᵢᵀ)`, four terms, the Aᵢ shared by all layers,
//! with GELU between them (Karimi Mahabadi et al. 2021, arXiv 2106.04647, eq. 5).

use stratune_protocol::{ModelReport, Problem};

use crate::bottleneck::{AdapterPlacement, COMPACTER_TERMS, Written, compacter_rules};
use crate::method::{
    Entered, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, beside_any, block_by_block,
};
use crate::setting::WIDTH;
use crate::{MethodConfig, MethodKind, Shared};

/// Compacter.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Compacter,
    name: "compacter",
    title: "Compacter",
    sentence: "Bottlenecks whose matrices are sums of Kronecker products with factors that all layers share: very few parameters.",
    trains: "the factors",
    family: Family::Additive,
    settings: &[WIDTH],
    enters: Enters::Block(&[AdapterPlacement::AfterAttention, AdapterPlacement::AfterMlp], Written::Kronecker),
    roles: &[],
    merges: Merges::No,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 3.0,
    saved_activations: SavedActivations::OUTSIDE,
    trainable,
    moving: block_by_block,
    of_its_paper,
    fits: beside_any,
    share,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    let (layers, d) = (method.layer_count(model.layers) as u64, model.hidden_size as u64);
    layers * 2 * 3 * (d + method.width.unwrap_or(0) as u64) + (COMPACTER_TERMS as u64).pow(3)
}

/// Karimi Mahabadi et al. 2021: a thirty-second of the model's width, in four terms.
fn of_its_paper(usual: MethodConfig, model: &ModelReport) -> MethodConfig {
    MethodConfig { width: Some((model.hidden_size / 32 / 4 * 4).max(4)), ..usual }
}

fn share(_: &MethodConfig, entered: &Entered<'_>, shared: &mut Shared) -> Result<(), Problem> {
    shared.compacter.get_or_insert_with(|| compacter_rules(entered.seed, entered.device));
    Ok(())
}
