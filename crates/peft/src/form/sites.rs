//! The linear layers that an adapter's tensors are for, and how PEFT's configuration names layers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use stratune_protocol::{ModelReport, Module, Problem, Targets, ends_with};

use super::number;
use crate::{MethodConfig, TargetOverride};

/// Rank and alpha of a layer.
pub(crate) type Shape = (usize, f32);

/// Rank and alpha of the layers that an adapter has tensors for, by their paths.
pub(crate) type Sites = BTreeMap<String, Shape>;

/// The number of the block that a layer's path is in, and what stands behind it: of a checkpoint's names the first part
/// that is a number counts the blocks.
pub(crate) fn split(path: &str) -> Option<(usize, &str)> {
    let mut rest = path;
    while let Some((part, behind)) = rest.split_once('.') {
        if let Ok(block) = part.parse() {
            return Some((block, behind));
        }
        rest = behind;
    }
    None
}

/// Whether blocks of two stacks are counted by themselves: a path begins with its stack's name, and its number alone says
/// nothing.
fn is_of_a_stack(path: &str) -> bool {
    ["encoder.", "decoder."].iter().any(|stack| path.starts_with(stack))
}

/// The same, of layers that are named by their whole paths.
fn by_paths(method: &MethodConfig, sites: &Sites) -> MethodConfig {
    let usual = (method.rank.unwrap_or(0), method.alpha.unwrap_or(1.0));
    let others = sites.iter().filter(|(_, shape)| **shape != usual);
    let over = |(path, (rank, alpha)): (&String, &Shape)| {
        (path.clone(), TargetOverride { rank: Some(*rank), alpha: Some(*alpha) })
    };
    let targets = Some(Targets::Listed(sites.keys().cloned().collect()));
    MethodConfig { layers: Vec::new(), targets, overrides: others.map(over).collect(), ..method.clone() }
}

/// The blocks of a method as PEFT counts them, by the number in their paths; and whether these, with the words that name its
/// layers, mean just those that it enters. A number means a block in both of two stacks.
pub(crate) fn layers_to_transform(method: &MethodConfig, words: &[String], model: &ModelReport) -> Option<Vec<usize>> {
    let sites = method.sites(model);
    let numbers: BTreeSet<usize> = sites.iter().filter_map(|site| split(&site.path)).map(|(block, _)| block).collect();
    let counted = |module: &&Module| split(&module.path).is_some_and(|(block, _)| numbers.contains(&block));
    let named = |module: &&Module| words.iter().any(|word| module.is_named(word));
    let meant: Vec<&Module> = model.linears().filter(counted).filter(named).collect();
    (meant == sites).then(|| numbers.into_iter().collect())
}

/// `method` at these layers with these ranks and alphas: one entry for each set of targets that some blocks share. `fields`
/// are PEFT's configuration, whose `target_modules` say how the layers are called.
pub(crate) fn spread(
    method: &MethodConfig,
    sites: &Sites,
    fields: &Map<String, Value>,
) -> Result<Vec<MethodConfig>, Problem> {
    let words: Vec<&str> = match fields.get("target_modules") {
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    // A name that layers of several roles end with is written with its block.
    let word = |path: &str, behind: &str| {
        let short = words.iter().find(|word| ends_with(behind, word));
        let long = || words.iter().find(|word| ends_with(path, word));
        short.or_else(long).map_or(behind, |word| *word).to_string()
    };
    let mut targets_of: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for path in sites.keys() {
        let Some((block, behind)) = split(path) else {
            return Err(Problem::input(format!("the adapter trains {path}, which is no linear layer of a block"))
                .next("use an adapter that was trained on this model"));
        };
        if is_of_a_stack(path) {
            return Ok(vec![by_paths(method, sites)]);
        }
        targets_of.entry(block).or_default().insert(word(path, behind));
    }
    let mut groups: BTreeMap<BTreeSet<String>, Vec<usize>> = BTreeMap::new();
    for (block, targets) in targets_of {
        groups.entry(targets).or_default().push(block);
    }
    let one = |(targets, layers): (BTreeSet<String>, Vec<usize>)| {
        let usual = (method.rank.unwrap_or(0), method.alpha.unwrap_or(1.0));
        let mut overrides = BTreeMap::new();
        for target in &targets {
            let here = |path: &str| split(path).is_some_and(|(block, _)| layers.contains(&block));
            let called: Vec<(&String, Shape)> = sites
                .iter()
                .filter(|(path, _)| here(path) && ends_with(path, target))
                .map(|(path, shape)| (path, *shape))
                .collect();
            let over = |(rank, alpha): Shape| TargetOverride { rank: Some(rank), alpha: Some(alpha) };
            if called.iter().all(|(_, shape)| *shape == called[0].1) {
                if called[0].1 != usual {
                    overrides.insert(target.clone(), over(called[0].1));
                }
                continue;
            }
            for (path, shape) in called.into_iter().filter(|(_, shape)| *shape != usual) {
                overrides.insert(path.clone(), over(shape));
            }
        }
        let targets = Some(Targets::Listed(targets.into_iter().collect()));
        MethodConfig { layers, targets, overrides, ..method.clone() }
    };
    Ok(groups.into_iter().map(one).collect())
}

/// The end of a layer's path that is of its role alone: its name, or more where layers of other roles have that, too.
pub(crate) fn name<'a>(site: &'a Module, model: &ModelReport) -> &'a str {
    let others = |end: &str| model.linears().any(|other| other.role != site.role && other.is_named(end));
    let starts = site.path.rmatch_indices('.').map(|(dot, _)| dot + 1);
    starts.map(|start| &site.path[start..]).find(|end| !others(end)).unwrap_or(&site.path)
}

/// What PEFT's `target_modules` calls the layers that a method enters: by their names, or by their paths where a name
/// is also that of a layer that it does not enter, in the model or beside it.
pub(crate) fn target_modules(method: &MethodConfig, model: &ModelReport) -> Vec<String> {
    let sites = method.sites(model);
    let names: BTreeSet<&str> = sites.iter().map(|site| name(site, model)).collect();
    let named =
        MethodConfig { targets: Some(Targets::listed(&names.iter().copied().collect::<Vec<_>>())), ..method.clone() };
    match named.sites(model) == sites && !model.beside_others {
        true => names.into_iter().map(str::to_string).collect(),
        false => sites.iter().map(|site| site.path.clone()).collect(),
    }
}

/// `rank_pattern` and `alpha_pattern` of a method. No layer is named by two keys, so that their order does not count.
pub(crate) fn patterns(method: &MethodConfig, model: &ModelReport) -> [Value; 2] {
    let sites = method.sites(model);
    let of = |value: &dyn Fn(&Module) -> Value, usual: Value| -> Value {
        let mut by_name: BTreeMap<&str, Vec<(&str, Value)>> = BTreeMap::new();
        for site in &sites {
            by_name.entry(site.name()).or_default().push((&site.path, value(site)));
        }
        let mut pattern = Map::new();
        for (name, values) in by_name {
            let alike = values.iter().all(|(_, value)| *value == values[0].1);
            let named = if alike { vec![(name, values[0].1.clone())] } else { values };
            let others = named.into_iter().filter(|(_, value)| *value != usual);
            pattern.extend(others.map(|(key, value)| (key.to_string(), value)));
        }
        pattern.into()
    };
    let ranks = of(&|site| method.at(&site.path).0.into(), method.rank.into());
    let alphas = of(&|site| number(method.at(&site.path).1), method.alpha.map_or(Value::Null, number));
    [ranks, alphas]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_two_roles_have_is_told_apart() {
        let mut model = stratune_protocol::testing::model(2, [4, 8, 4, 2]);
        let ends = [("o_proj", "c_proj"), ("down_proj", "c_proj")];
        for module in &mut model.modules {
            for (old, new) in ends {
                module.path = module.path.replace(old, new);
            }
        }
        let words = |targets: &str| {
            let targets = Some(targets.parse().unwrap());
            target_modules(&MethodConfig { targets, ..MethodConfig::default() }, &model)
        };
        assert_eq!(words("output,query"), ["q_proj", "self_attn.c_proj"]);
        assert_eq!(words("c_proj"), ["mlp.c_proj", "self_attn.c_proj"]);
    }

    #[test]
    fn blocks_are_counted_by_the_first_number() {
        for (path, want) in [
            ("model.layers.10.self_attn.q_proj", Some((10, "self_attn.q_proj"))),
            ("transformer.h.3.attn.c_attn", Some((3, "attn.c_attn"))),
            ("lm_head", None),
        ] {
            assert_eq!(split(path), want);
        }
    }
}
