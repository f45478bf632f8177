//! A structure: which method stands at which module, and how large. Made by hand or by a search, it is a file of its own, and
//! becomes the methods of a run on a model that has the modules.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stratune_protocol::{ModelReport, Module, Problem, Role, Targets};

use crate::method::Enters;
use crate::setting::Setting;
use crate::{MethodConfig, MethodKind, Methods, TargetOverride};

/// What a structure's file is called.
pub const STRUCTURE_JSON: &str = "structure.json";
/// The version of the file.
const FORMAT: u32 = 1;

/// A list of methods at modules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Structure {
    /// The version of its form.
    #[serde(rename = "stratune_structure")]
    pub format: u32,
    /// The model that it was made on; empty if it is not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Its blocks. On a model of more or fewer of them each block has what the one at the same relative depth has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// What stands where.
    pub sites: Vec<Placed>,
}

/// A method at a module. What is left out is what the method has unless it is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// The path of a linear layer, such as `model.layers.0.self_attn.q_proj`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Or the block, from 0: alone for a method that enters blocks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// with the role of a linear layer for one that enters those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Which method.
    pub method: MethodKind,
    /// Rank of the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// The update is scaled by it over the rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
    /// Width of the bottleneck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Positions before the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
}

/// A size within a group of modules that have one configuration: rank and alpha.
type Size = (Option<usize>, Option<f32>);

impl Placed {
    /// A method at the linear layer of this path.
    pub fn at(path: &str, method: MethodKind) -> Self {
        Self { site: Some(path.into()), ..Self::bare(method) }
    }

    /// A method at a block.
    pub fn in_block(block: usize, method: MethodKind) -> Self {
        Self { block: Some(block), ..Self::bare(method) }
    }

    fn bare(method: MethodKind) -> Self {
        Self { site: None, block: None, role: None, method, rank: None, alpha: None, width: None, length: None }
    }

    /// What it is called in messages.
    pub(crate) fn place(&self) -> String {
        match (&self.site, self.block, self.role) {
            (Some(site), ..) => site.clone(),
            (None, Some(block), Some(role)) => format!("{} of block {block}", role.name()),
            (None, Some(block), None) => format!("block {block}"),
            (None, None, _) => "no place".into(),
        }
    }

    /// The method with its own settings, at no place yet.
    fn method(&self) -> Result<MethodConfig, Problem> {
        let mut method = MethodConfig::new(self.method);
        let sizes = [
            (Setting::Rank, self.rank.is_some()),
            (Setting::Alpha, self.alpha.is_some()),
            (Setting::Width, self.width.is_some()),
            (Setting::Length, self.length.is_some()),
        ];
        let foreign = |(setting, given): &&(Setting, bool)| *given && self.method.method().has(*setting).is_none();
        if let Some((setting, _)) = sizes.iter().find(foreign) {
            let what = format!("{} at {} has no {}", self.method, self.place(), setting.name());
            return Err(Problem::input(what).next("leave it out"));
        }
        method.rank = self.rank.or(method.rank);
        method.alpha = self.alpha.or(method.alpha);
        method.width = self.width.or(method.width);
        method.length = self.length.or(method.length);
        Ok(method)
    }

    /// The number of its block; none of what names none.
    pub fn block_number(&self) -> Option<usize> {
        self.site.as_deref().map_or(self.block, |path| crate::form::split(path).map(|(block, _)| block))
    }

    /// The same in another block.
    fn moved(&self, to: usize) -> Self {
        let path = |path: &String| match crate::form::split(path) {
            None => path.clone(),
            Some((block, behind)) => {
                let number = block.to_string();
                let before = &path[..path.len() - behind.len() - 1 - number.len()];
                format!("{before}{to}.{behind}")
            }
        };
        Self { site: self.site.as_ref().map(path), block: self.block.map(|_| to), ..self.clone() }
    }

    /// The linear layer that it names; none if the model lacks it.
    fn module<'a>(&self, model: &'a ModelReport) -> Option<&'a Module> {
        let of_role = |module: &Module, role: Role| module.role == role || module.role.fused().contains(&role);
        model.linears().find(|module| match (&self.site, self.block, self.role) {
            (Some(path), ..) => module.path == *path,
            (None, Some(block), Some(role)) => module.block == Some(block) && of_role(module, role),
            _ => false,
        })
    }
}

impl Structure {
    /// These methods at these modules of this model.
    pub fn new(model: &ModelReport, sites: Vec<Placed>) -> Self {
        Self { format: FORMAT, model: model.name.clone(), layers: Some(model.layers), sites }
    }

    /// What stands where in a model of so many blocks.
    fn at_depth(&self, layers: usize) -> Vec<Placed> {
        let Some(own) = self.layers.filter(|own| *own != layers && *own > 0 && layers > 0) else {
            return self.sites.clone();
        };
        let step = (own - 1) as f64 / (layers - 1).max(1) as f64;
        let of_block = |block: usize| {
            let from = (block as f64 * step).round() as usize;
            self.sites.iter().filter(move |placed| placed.block_number() == Some(from)).map(move |p| p.moved(block))
        };
        (0..layers).flat_map(of_block).collect()
    }

    /// Whether a file's text is a structure's.
    pub fn is_one(text: &[u8]) -> bool {
        let value: Option<serde_json::Value> = serde_json::from_slice(text).ok();
        value.is_some_and(|value| value.get("stratune_structure").is_some())
    }

    /// Out of a file's text; `at` is the file.
    ///
    /// # Errors
    /// It is no structure, or of a later version.
    pub fn from_json(text: &[u8], at: &str) -> Result<Self, Problem> {
        let read: Self = serde_json::from_slice(text).map_err(|e| {
            Problem::input(format!("the structure cannot be read: {e}"))
                .at(at)
                .next("compare with the reference in crates/search/README.md")
        })?;
        if read.format != FORMAT {
            let what = format!("the structure's format is {}, and this version reads {FORMAT}", read.format);
            return Err(Problem::input(what).at(at).next("update Stratune"));
        }
        if read.sites.is_empty() {
            return Err(Problem::input("the structure has no site").at(at).next("name at least one"));
        }
        Ok(read)
    }

    /// As a file, a site on a line.
    ///
    /// # Errors
    /// A number cannot be written.
    pub fn to_json(&self) -> Result<String, Problem> {
        let fail = |e| Problem::input(format!("the structure cannot be written: {e}"));
        let sites: Result<Vec<String>, _> = self.sites.iter().map(serde_json::to_string).collect();
        let sites = sites.map_err(fail)?.join(",\n    ");
        let model = serde_json::to_string(&self.model).map_err(fail)?;
        let layers = self.layers.map_or_else(String::new, |layers| format!("  \"layers\": {layers},\n"));
        let head = format!("{{\n  \"stratune_structure\": {},\n  \"model\": {model},\n{layers}", self.format);
        Ok(format!("{head}  \"sites\": [\n    {sites}\n  ]\n}}\n"))
    }

    /// The methods of a run on this model: one entry for each method whose sizes may differ from layer to layer, else one for
    /// each size.
    ///
    /// # Errors
    /// Names the first site that the model lacks, is named twice, or that its method cannot enter.
    pub fn methods(&self, model: &ModelReport) -> Result<Methods, Problem> {
        let of = if self.model.is_empty() { String::new() } else { format!(", which was made on {}", self.model) };
        let lacks = |placed: &Placed| {
            Problem::input(format!("the model has no {}: the structure{of} does not fit", placed.place()))
                .next("use the model that it was made on, or name sites that this one has")
        };
        let mut taken = BTreeSet::new();
        // In the order in which the methods appear.
        let mut groups: Vec<(MethodConfig, BTreeMap<String, Size>)> = Vec::new();
        for placed in &self.at_depth(model.layers) {
            let method = placed.method()?;
            let has = |setting| method.kind.method().has(setting).is_some();
            let key = match method.kind.method().enters {
                Enters::Linear(_) | Enters::InPlace(_) if has(Setting::Targets) => {
                    placed.module(model).ok_or_else(|| lacks(placed))?.path.clone()
                }
                Enters::Block(..) | Enters::Attention | Enters::Norm if placed.site.is_none() => {
                    let block = placed.block.filter(|block| *block < model.layers && placed.role.is_none());
                    block.ok_or_else(|| lacks(placed))?.to_string()
                }
                _ => {
                    let what = format!("{} cannot be placed at {}", method.kind, placed.place());
                    let next = "place methods of linear layers by `site` or by `block` and `role`, those of blocks by \
                                `block`; leave others to run.toml";
                    return Err(Problem::input(what).next(next));
                }
            };
            if !taken.insert((method.kind.name(), key.clone())) {
                let what = format!("the structure has {} twice at {}", method.kind, placed.place());
                return Err(Problem::input(what).next("name it once"));
            }
            let (size, varies) = ((method.rank, method.alpha), has(Setting::Overrides));
            let bare = if varies { MethodConfig { rank: None, alpha: None, ..method } } else { method };
            match groups.iter_mut().find(|(group, _)| *group == bare) {
                Some((_, sites)) => _ = sites.insert(key, size),
                None => groups.push((bare, [(key, size)].into())),
            }
        }
        Ok(Methods(groups.into_iter().map(|(method, sites)| gathered(method, &sites, model)).collect()))
    }
}

/// One method at all of these: paths of linear layers, or numbers of blocks.
fn gathered(method: MethodConfig, sites: &BTreeMap<String, Size>, model: &ModelReport) -> MethodConfig {
    if method.targets.is_none() {
        let mut layers: Vec<usize> = sites.keys().filter_map(|block| block.parse().ok()).collect();
        layers.sort_unstable();
        return MethodConfig { layers, ..method };
    }
    let paths: Vec<&str> = model.linears().map(|m| m.path.as_str()).filter(|path| sites.contains_key(*path)).collect();
    let targets = Some(Targets::listed(&paths));
    if method.kind.method().has(Setting::Overrides).is_none() {
        return MethodConfig { targets, ..method };
    }
    // The size that most have is the method's own.
    let count = |size: &Size| sites.values().filter(|other| *other == size).count();
    let most = sites.values().copied().max_by_key(count).unwrap_or_default();
    let over = |(path, (rank, alpha)): (&String, &Size)| (path.clone(), TargetOverride { rank: *rank, alpha: *alpha });
    let overrides = sites.iter().filter(|(_, size)| **size != most).map(over).collect();
    MethodConfig { targets, rank: most.0, alpha: most.1, overrides, ..method }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn model() -> ModelReport {
        stratune_protocol::testing::model(3, [8, 20, 8, 4])
    }

    fn path(block: usize, name: &str) -> String {
        format!("model.layers.{block}.{name}")
    }

    #[test]
    fn it_becomes_methods_that_train_exactly_what_it_says() {
        let text = br#"{"stratune_structure": 1, "sites": [
            {"site": "model.layers.0.self_attn.q_proj", "method": "lora", "rank": 2, "alpha": 2},
            {"block": 2, "role": "down", "method": "lora", "rank": 2, "alpha": 2},
            {"site": "model.layers.1.mlp.up_proj", "method": "lora", "rank": 5, "alpha": 10},
            {"site": "model.layers.1.mlp.up_proj", "method": "bitfit"},
            {"block": 0, "method": "pfeiffer", "width": 3}, {"block": 2, "method": "pfeiffer", "width": 3},
            {"block": 1, "method": "pfeiffer", "width": 4}, {"block": 1, "method": "layer_norm"}]}"#;
        let structure = Structure::from_json(text, "here").unwrap();
        let methods = structure.methods(&model()).unwrap();
        let kinds: Vec<&str> = methods.iter().map(|m| m.kind.name()).collect();
        assert_eq!(kinds, ["lora", "bitfit", "pfeiffer", "pfeiffer", "layer_norm"]);
        assert_eq!(methods[0].at(&path(0, "self_attn.q_proj")), (2, 2.0));
        assert_eq!(methods[0].at(&path(1, "mlp.up_proj")), (5, 10.0));
        assert_eq!(methods[0].sites(&model()).len(), 3);
        assert_eq!((methods[2].layers.clone(), methods[3].layers.clone()), (vec![0, 2], vec![1]));
        let by_hand = 2 * 16 + 2 * 28 + 5 * 28 + 20 + 2 * (8 * 3 * 2 + 3 + 8) + (8 * 4 * 2 + 4 + 8) + 16;
        assert_eq!(methods.trainable(&model()), by_hand);
        methods.iter().try_for_each(|method| method.check_on(&model())).unwrap();
        assert_eq!(Structure::from_json(structure.to_json().unwrap().as_bytes(), "here").unwrap(), structure);
        assert!(Structure::is_one(structure.to_json().unwrap().as_bytes()) && !Structure::is_one(b"[1]"));
    }

    /// By relative depth: of three blocks the first, the middle and the last are those of five, and of two the outer ones.
    #[test]
    fn it_moves_to_another_depth() {
        let lora =
            |block, rank| Placed { rank: Some(rank), ..Placed::at(&path(block, "mlp.up_proj"), MethodKind::Lora) };
        let sites = vec![lora(0, 1), lora(1, 2), lora(2, 3), Placed::in_block(1, MethodKind::LayerNorm)];
        let structure = Structure::new(&model(), sites);
        for (layers, ranks, norms) in [
            (5, &[1, 2, 2, 3, 3][..], &[1, 2][..]),
            (3, &[1, 2, 3], &[1]),
            (2, &[1, 3], &[]),
            (11, &[1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3], &[3, 4, 5, 6, 7]),
        ] {
            let other = stratune_protocol::testing::model(layers, [8, 20, 8, 4]);
            let methods = structure.methods(&other).unwrap();
            let got: Vec<usize> = (0..layers).map(|block| methods[0].at(&path(block, "mlp.up_proj")).0).collect();
            assert_eq!(got, ranks, "{layers} blocks");
            assert_eq!(methods.get(1).map_or(&[][..], |norm| &norm.layers), norms, "{layers} blocks");
        }
        let again = Structure::from_json(structure.to_json().unwrap().as_bytes(), "here").unwrap();
        assert_eq!(again, structure);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (sites, named) in [
            (r#"{"site": "model.layers.7.self_attn.q_proj", "method": "lora"}"#, "model.layers.7.self_attn.q_proj"),
            (r#"{"site": "model.norm", "method": "lora"}"#, "model.norm"),
            (r#"{"block": 3, "role": "query", "method": "lora"}"#, "query of block 3"),
            (r#"{"block": 0, "role": "query_key_value", "method": "bitfit"}"#, "query_key_value of block 0"),
            (r#"{"block": 3, "method": "pfeiffer"}"#, "block 3"),
            (r#"{"method": "lora"}"#, "no place"),
            (r#"{"block": 0, "method": "prompt"}"#, "prompt cannot be placed"),
            (r#"{"site": "model.layers.0.mlp.up_proj", "method": "bitfit", "rank": 3}"#, "has no rank"),
            (
                r#"{"block": 1, "method": "pfeiffer"}, {"block": 1, "method": "pfeiffer", "width": 3}"#,
                "twice at block 1",
            ),
        ] {
            let text = format!(r#"{{"stratune_structure": 1, "model": "other", "sites": [{sites}]}}"#);
            let problem = Structure::from_json(text.as_bytes(), "here").unwrap().methods(&model()).unwrap_err();
            assert!(problem.what.contains(named) && !problem.next.is_empty(), "{named}: {problem}");
        }
        for (text, named) in [
            (r#"{"stratune_structure": 2, "sites": []}"#, "format is 2"),
            (r#"{"stratune_structure": 1, "sites": []}"#, "no site"),
            (r#"{"stratune_structure": 1, "sites": [{"method": "loora"}]}"#, "loora"),
            (r#"{"stratune_structure": 1, "sites": [{"method": "lora", "rnk": 1}]}"#, "rnk"),
        ] {
            let problem = Structure::from_json(text.as_bytes(), "here").unwrap_err();
            assert!(problem.what.contains(named), "{problem}");
            assert_eq!(problem.at, "here");
        }
    }
}
