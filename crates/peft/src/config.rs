//! One method and its settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use stratune_protocol::{BaseDtype, ModelReport, Module, Problem, Role, Targets, ends_with};

use crate::method::{Enters, Merges};
use crate::setting::{Projection, Setting, Usual};
use crate::{Delta, MethodKind, PeftError, Site};

/// One method and its settings. A setting that the method does not have is absent; one that it has is always there,
/// whether it was given or is the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Given")]
pub struct MethodConfig {
    /// Which method.
    pub kind: MethodKind,
    /// The blocks that it enters, from 0; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
    /// The linear layers that it enters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
    /// Rank of the update, r.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Scale of the update is alpha / rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
    /// Dropout on the update's input while training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
    /// The learning rate of B is this many times that of A.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Width of the bottleneck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// What the adapter's output is multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Positions put before the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Share of each matrix that trains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f32>,
    /// Numbers that steer all weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
    /// How they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
    /// Rank that training starts with; the budget shrinks to `rank`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_rank: Option<usize>,
    /// Weight of the method's penalty in the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f32>,
    /// Rows that are looked at before training to choose what trains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Steps between changes of what the method trains or projects on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<usize>,
    /// Blocks that train at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<usize>,
    /// Bits of a base weight: 4 or 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<usize>,
    /// The side network is this many times narrower than the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduction: Option<usize>,
    /// A learned gate decides for each token how much the method adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gated: Option<bool>,
    /// Another rank or alpha at layers whose path ends so, such as `q_proj` or `layers.0.self_attn.q_proj`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, TargetOverride>,
}

/// Another rank or alpha at some layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetOverride {
    /// Rank here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Alpha here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
}

impl MethodConfig {
    /// What the matrices of the blocks are kept as, if the method keeps them in few bits.
    pub fn quantized_dtype(&self) -> Option<BaseDtype> {
        let dtype = if self.bits == Some(8) { BaseDtype::Int8 } else { BaseDtype::Int4 };
        self.kind.method().few_bits.then_some(dtype)
    }

    /// A method with its usual settings.
    pub fn new(kind: MethodKind) -> Self {
        let mut config = Self {
            kind,
            layers: Vec::new(),
            targets: None,
            rank: None,
            alpha: None,
            dropout: None,
            ratio: None,
            width: None,
            scale: None,
            length: None,
            share: None,
            dimension: None,
            projection: None,
            initial_rank: None,
            penalty: None,
            samples: None,
            interval: None,
            blocks: None,
            bits: None,
            reduction: None,
            gated: None,
            overrides: BTreeMap::new(),
        };
        kind.method().settings.iter().for_each(|has| config.put(has.setting, has.usual));
        config
    }

    /// Gives a setting its usual value.
    fn put(&mut self, setting: Setting, usual: Usual) {
        match setting {
            Setting::Targets => self.targets = usual.targets(),
            Setting::Rank => self.rank = usual.count(),
            Setting::Alpha => self.alpha = usual.number(),
            Setting::Dropout => self.dropout = usual.number(),
            Setting::Overrides => self.overrides = BTreeMap::new(),
            Setting::Ratio => self.ratio = usual.number().map(f64::from),
            Setting::Width => self.width = usual.count(),
            Setting::Scale => self.scale = usual.number(),
            Setting::Length => self.length = usual.count(),
            Setting::Share => self.share = usual.number(),
            Setting::Dimension => self.dimension = usual.count(),
            Setting::Projection => self.projection = usual.projection(),
            Setting::InitialRank => self.initial_rank = usual.count(),
            Setting::Penalty => self.penalty = usual.number(),
            Setting::Samples => self.samples = usual.count(),
            Setting::Interval => self.interval = usual.count(),
            Setting::Blocks => self.blocks = usual.count(),
            Setting::Bits => self.bits = usual.count(),
            Setting::Reduction => self.reduction = usual.count(),
            Setting::Gated => self.gated = usual.flag(),
        }
    }

    /// A method with the settings of its paper, for a model.
    pub fn of_its_paper(kind: MethodKind, model: &ModelReport) -> Self {
        (kind.method().of_its_paper)(Self::new(kind), model)
    }

    /// What it adds at a linear layer, drawn from the site's seed; nothing if it adds nothing to linear layers.
    ///
    /// # Errors
    /// The method does not fit the layer.
    pub async fn delta_at(&self, site: &Site) -> Result<Option<Box<dyn Delta>>, PeftError> {
        match self.kind.method().enters {
            Enters::Linear(build) => build(self, site).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The linear layers of a model that it enters, from the first block to the last.
    pub fn sites<'a>(&self, model: &'a ModelReport) -> Vec<&'a Module> {
        let here = |module: &&Module| module.block.is_some_and(|block| self.enters_layer(block));
        let linears = model.linears().filter(here);
        match &self.targets {
            None => {
                let roles = self.kind.method().roles;
                let alike = |role: Role| role.fused().iter().copied().chain(role.in_self_attention());
                let enters = |role: Role| roles.contains(&role) || alike(role).any(|one| roles.contains(&one));
                linears.filter(|module| enters(module.role)).collect()
            }
            // An expression that is none is refused before it comes to this.
            Some(targets) => {
                targets.matcher().map_or_else(|_| Vec::new(), |matches| linears.filter(|m| matches(m)).collect())
            }
        }
    }

    /// Checks every setting, and what depends on the model: blocks, targets and overrides.
    ///
    /// # Errors
    /// Names what the model does not have.
    pub fn check_on(&self, model: &ModelReport) -> Result<(), Problem> {
        self.check_ranges()?;
        let enters = &self.kind.method().enters;
        if model.has(Role::CrossQuery) && matches!(enters, Enters::Input | Enters::Side) {
            let what =
                format!("{} is for models of one stack, and this one has an encoder beside its decoder", self.kind);
            return Err(Problem::input(what).at("method").next("use lora, or another method that enters blocks"));
        }
        if let Some(layer) = self.layers.iter().find(|i| **i >= model.layers) {
            let what = format!("there is no layer {layer}: the model has {}", model.layers);
            return Err(Problem::input(what).at("method.layers").next("layers are counted from 0"));
        }
        if let Some(targets) = &self.targets {
            targets.check(model)?;
        }
        let sites = self.sites(model);
        match self.overrides.keys().find(|key| !sites.iter().any(|module| module.is_named(key))) {
            None => Ok(()),
            Some(key) => Err(Problem::input(format!("{key} is not among the targets"))
                .at("method.overrides")
                .next("add it to targets or drop it")),
        }
    }

    /// Whether it enters block `layer`.
    pub fn enters_layer(&self, layer: usize) -> bool {
        self.layers.is_empty() || self.layers.contains(&layer)
    }

    /// What is left of it when the model serves. A gate depends on the text, so nothing gated can be merged.
    pub fn merges(&self) -> Merges {
        if self.gated == Some(true) { Merges::No } else { self.kind.method().merges }
    }

    /// How many of `layers` blocks it enters.
    pub fn layer_count(&self, layers: usize) -> usize {
        (0..layers).filter(|i| self.enters_layer(*i)).count()
    }

    /// Rank and alpha at the layer with this path: of the overrides that name it and give the one or the other, the
    /// most specific, which is the longest.
    pub fn at(&self, path: &str) -> (usize, f32) {
        let fitting = || self.overrides.iter().filter(|(key, _)| ends_with(path, key));
        let rank = fitting().filter_map(|(key, over)| Some((key.len(), over.rank?))).max_by_key(|(length, _)| *length);
        let alpha =
            fitting().filter_map(|(key, over)| Some((key.len(), over.alpha?))).max_by_key(|(length, _)| *length);
        let rank = rank.map(|(_, rank)| rank).or(self.rank);
        let alpha = alpha.map(|(_, alpha)| alpha).or(self.alpha);
        (rank.unwrap_or(0), alpha.unwrap_or(1.0))
    }

    /// Whether the setting is there.
    pub(crate) fn is_given(&self, setting: Setting) -> bool {
        match setting {
            Setting::Targets => self.targets.is_some(),
            Setting::Rank => self.rank.is_some(),
            Setting::Alpha => self.alpha.is_some(),
            Setting::Dropout => self.dropout.is_some(),
            Setting::Overrides => !self.overrides.is_empty(),
            Setting::Ratio => self.ratio.is_some(),
            Setting::Width => self.width.is_some(),
            Setting::Scale => self.scale.is_some(),
            Setting::Length => self.length.is_some(),
            Setting::Share => self.share.is_some(),
            Setting::Dimension => self.dimension.is_some(),
            Setting::Projection => self.projection.is_some(),
            Setting::InitialRank => self.initial_rank.is_some(),
            Setting::Penalty => self.penalty.is_some(),
            Setting::Samples => self.samples.is_some(),
            Setting::Interval => self.interval.is_some(),
            Setting::Blocks => self.blocks.is_some(),
            Setting::Bits => self.bits.is_some(),
            Setting::Reduction => self.reduction.is_some(),
            Setting::Gated => self.gated.is_some(),
        }
    }
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self::new(MethodKind::default())
    }
}

/// What a configuration says of a method: what it leaves out is filled in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    kind: MethodKind,
    #[serde(default)]
    layers: Vec<usize>,
    targets: Option<Targets>,
    rank: Option<usize>,
    alpha: Option<f32>,
    dropout: Option<f32>,
    ratio: Option<f64>,
    width: Option<usize>,
    scale: Option<f32>,
    length: Option<usize>,
    share: Option<f32>,
    dimension: Option<usize>,
    projection: Option<Projection>,
    initial_rank: Option<usize>,
    penalty: Option<f32>,
    samples: Option<usize>,
    interval: Option<usize>,
    blocks: Option<usize>,
    bits: Option<usize>,
    reduction: Option<usize>,
    gated: Option<bool>,
    #[serde(default)]
    overrides: BTreeMap<String, TargetOverride>,
}

impl TryFrom<Given> for MethodConfig {
    type Error = Problem;

    fn try_from(given: Given) -> Result<Self, Problem> {
        let usual = Self::new(given.kind);
        let config = Self {
            kind: given.kind,
            layers: given.layers,
            targets: given.targets.or(usual.targets),
            rank: given.rank.or(usual.rank),
            alpha: given.alpha.or(usual.alpha),
            dropout: given.dropout.or(usual.dropout),
            ratio: given.ratio.or(usual.ratio),
            width: given.width.or(usual.width),
            scale: given.scale.or(usual.scale),
            length: given.length.or(usual.length),
            share: given.share.or(usual.share),
            dimension: given.dimension.or(usual.dimension),
            projection: given.projection.or(usual.projection),
            initial_rank: given.initial_rank.or(usual.initial_rank),
            penalty: given.penalty.or(usual.penalty),
            samples: given.samples.or(usual.samples),
            interval: given.interval.or(usual.interval),
            blocks: given.blocks.or(usual.blocks),
            bits: given.bits.or(usual.bits),
            reduction: given.reduction.or(usual.reduction),
            gated: given.gated.or(usual.gated),
            overrides: given.overrides,
        };
        config.foreign().map_or(Ok(config), Err)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_settings_and_no_other() {
        for kind in MethodKind::ALL {
            let config = MethodConfig::new(kind);
            config.check().unwrap();
            for setting in Setting::ALL {
                let has = kind.method().has(setting).is_some();
                assert!(config.is_given(setting) == has || setting == Setting::Overrides, "{kind} {setting:?}");
            }
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<MethodConfig>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn the_settings_of_papers_are_settings_of_the_method() {
        let model = ModelReport { hidden_size: 768, ..ModelReport::default() };
        let mut differ = 0;
        for kind in MethodKind::ALL {
            let of_paper = MethodConfig::of_its_paper(kind, &model);
            of_paper.check().unwrap();
            differ += usize::from(of_paper != MethodConfig::new(kind));
        }
        assert!(differ >= 15, "{differ}");
        let width = |kind| MethodConfig::of_its_paper(kind, &model).width;
        assert_eq!((width(MethodKind::Pfeiffer), width(MethodKind::Compacter)), (Some(48), Some(24)));
    }

    #[test]
    fn a_foreign_setting_is_named() {
        let error = toml::from_str::<MethodConfig>("kind = \"bitfit\"\nrank = 4\n").unwrap_err().to_string();
        assert!(error.contains("bitfit has no setting rank"), "{error}");
        assert!(toml::from_str::<MethodConfig>("ranc = 4\n").unwrap_err().to_string().contains("ranc"));
    }

    #[test]
    fn the_most_specific_override_that_says_it_counts() {
        let text = "rank = 8\n[overrides.q_proj]\nrank = 2\n[overrides.\"layers.1.self_attn.q_proj\"]\nalpha = 3.0\n";
        let config: MethodConfig = toml::from_str(text).unwrap();
        assert_eq!(config.at("model.layers.0.self_attn.q_proj"), (2, 16.0));
        assert_eq!(config.at("model.layers.1.self_attn.q_proj"), (2, 3.0));
        assert_eq!(config.at("model.layers.11.self_attn.q_proj"), (2, 16.0));
        assert_eq!(config.at("model.layers.0.mlp.up_proj"), (8, 16.0));
    }
}
