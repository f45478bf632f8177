//! SAID: DID with one trainable λ a matrix, taken out of the dimension: `W' = W + λ · P v`, λ one at the start
//! (Aghajanyan et al. 2021, arXiv 2012.13255, eq. 2).

use burn::tensor::Tensor;
use stratune_protocol::{IstMode, Problem};

use crate::method::{
    Built, Entered, Enters, Family, FromData, Merges, Method, SavedActivations, as_a_whole, as_it_is, as_usual,
};
use crate::setting::{DIMENSION, PROJECTION, TARGETS};
use crate::{Intrinsic, MethodConfig, MethodKind, Methods, Param, Shared, Site, intrinsic};

/// Intrinsic dimension (SAID).
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Said,
    name: "said",
    title: "Intrinsic dimension (SAID)",
    sentence: "As DID, with one strength for each matrix.",
    trains: "v and one λ a matrix",
    family: Family::Reparameterised,
    settings: &[TARGETS, DIMENSION, PROJECTION],
    enters: Enters::Linear(build),
    roles: &[],
    merges: Merges::Weights,
    per_layer: false,
    has_layers: true,
    unique: true,
    needs_gradients: false,
    from_data: FromData::Nothing,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 10.0,
    saved_activations: SavedActivations::INPUTS.dense(2.0),
    trainable: intrinsic::numbers,
    moving: as_a_whole,
    of_its_paper: as_usual,
    fits,
    share,
    finalized: as_it_is,
    for_original_base: as_it_is,
    peft: None,
};

fn build<'a>(config: &'a MethodConfig, site: &'a Site) -> Built<'a> {
    Box::pin(async move {
        Ok(Box::new(Intrinsic::new(config, site, dimension(config, site.sites), Some(lambda(site)))?) as _)
    })
}

/// What of the dimension is left for v when each matrix has its λ.
fn dimension(config: &MethodConfig, sites: usize) -> usize {
    config.dimension.unwrap_or(0).saturating_sub(sites)
}

fn lambda(site: &Site) -> Param<1> {
    Param::trainable(Tensor::ones([1], &site.device()))
}

/// There is one v in a model.
fn fits(methods: &Methods, _: IstMode) -> Result<(), Problem> {
    match methods.iter().any(|m| m.kind == MethodKind::Did) {
        false => Ok(()),
        true => Err(Problem::input("did and said are listed together").at("method").next("choose one of them")),
    }
}

fn share(method: &MethodConfig, entered: &Entered<'_>, shared: &mut Shared) -> Result<(), Problem> {
    let left = dimension(method, entered.sites);
    if left == 0 {
        let (dimension, sites) = (method.dimension.unwrap_or(0), entered.sites);
        let what = format!("dimension {dimension} does not reach beyond one λ for each of {sites} matrices");
        return Err(Problem::input(what).at("method.dimension").next("use a larger dimension, or fewer targets"));
    }
    intrinsic::share(left, entered, shared);
    Ok(())
}
