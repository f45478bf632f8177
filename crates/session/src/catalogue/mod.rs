//! What there is to choose from: methods, modes, presets, and every setting as a form shows it.

mod method_fields;
mod run_fields;
mod search_choices;

use serde_json::{Value, json};
use stratune_peft::{MethodKind, MethodPreset, Methods};
use stratune_protocol::{Catalogue, Choices, IstConfig, IstMode, MethodEntry, Mode, ModelReport, Preset, Values};
use stratune_train::RunConfig;

use crate::link::tree;

/// The modes in the order in which they are shown; a method falls back to the first that it can train under. The first is
/// what pages start with: all layers end at the lowest loss in the same time, by measurement, and their scores are to be seen.
const MODES: [IstMode; 6] =
    [IstMode::Scored, IstMode::Practical, IstMode::CostAware, IstMode::Faithful, IstMode::Random, IstMode::All];

/// The preset of the starter model, which pages start with: small models take large steps, and many.
const OF_STARTER: &str = "Starter";
/// The preset of other models.
const OF_OTHERS: &str = "Balanced";

/// Name, purpose, rank, epochs and learning rate of each preset. Fewer steps want larger ones.
const PRESETS: [(&str, &str, usize, f64, f64); 4] = [
    ("Quick", "rank 4, one pass: see whether it works", 4, 1.0, 2e-3),
    (OF_OTHERS, "rank 8, three passes: what most people want", 8, 3.0, 1e-3),
    ("Thorough", "rank 16, six passes: when it may take its time", 16, 6.0, 5e-4),
    (OF_STARTER, "rank 16, twenty passes at a large learning rate: what the small starter model needs", 16, 20.0, 5e-3),
];

/// The settings that a page starts with, the starter model chosen.
pub fn page_default() -> RunConfig {
    let mut config = RunConfig { ist: IstConfig::preset(IstMode::Scored), ..RunConfig::default() };
    for (_, _, rank, epochs, learning_rate) in PRESETS.into_iter().filter(|preset| preset.0 == OF_STARTER) {
        config.method.set(Some(rank), |m| &mut m.rank);
        config.method.set(Some(2.0 * rank as f32), |m| &mut m.alpha);
        (config.train.epochs, config.train.learning_rate) = (epochs as f32, learning_rate);
    }
    config
}

/// What there is to choose from, whatever the model.
pub fn catalogue() -> Catalogue {
    Catalogue {
        methods: MethodKind::ALL
            .into_iter()
            .map(method)
            .chain(MethodPreset::ALL.into_iter().map(combination))
            .collect(),
        modes: MODES.into_iter().map(mode).collect(),
        presets: PRESETS.into_iter().map(preset).collect(),
        preset_of_starter: OF_STARTER.into(),
        preset_of_others: OF_OTHERS.into(),
        fields: run_fields::all(),
        search: search_choices::all(),
    }
}

/// What a model leaves to choose from.
pub fn choices(model: &ModelReport) -> Choices {
    let of = |preset: MethodPreset| (preset.name().to_string(), list(&preset.methods(model)));
    Choices {
        targets: model.linear_names().into_iter().map(str::to_string).collect(),
        combinations: MethodPreset::ALL.into_iter().map(of).collect(),
        spaces: search_choices::counts(model),
    }
}

fn method(kind: MethodKind) -> MethodEntry {
    MethodEntry {
        name: kind.name().into(),
        title: kind.title().into(),
        family: kind.method().family.name().into(),
        sentence: kind.method().sentence.into(),
        fields: method_fields::of(kind),
        methods: list(&kind.into()),
        modes: modes(&kind.into()),
    }
}

fn combination(preset: MethodPreset) -> MethodEntry {
    // What it can train under does not depend on the model, as long as there are layers.
    let any = ModelReport { layers: 12, hidden_size: 64, query_size: 64, key_value_size: 64, ..ModelReport::default() };
    MethodEntry {
        name: preset.name().into(),
        title: preset.title().into(),
        family: "hybrid".into(),
        sentence: preset.sentence().into(),
        fields: Vec::new(),
        methods: Vec::new(),
        modes: modes(&preset.methods(&any)),
    }
}

/// The modes that methods can train under.
fn modes(methods: &Methods) -> Vec<String> {
    let fits = |mode: &IstMode| {
        let config = RunConfig { method: methods.clone(), ist: IstConfig::preset(*mode), ..RunConfig::default() };
        config.validate().is_ok()
    };
    MODES.into_iter().filter(fits).map(name_of).collect()
}

fn mode(mode: IstMode) -> Mode {
    let sentence = match mode {
        IstMode::All => "Every layer trains at every step: ordinary LoRA, with nothing learned about layers.",
        IstMode::Scored => {
            "Every layer trains at every step, and the layers' scores are learned beside it: the best result, and you see \
             which layers matter."
        }
        IstMode::Random => {
            "Each step trains an even draw of the layers: fast, and the yardstick for the learned modes."
        }
        IstMode::Faithful => {
            "Layers that matter are drawn more often; scores move as in the published algorithm, measured on training rows."
        }
        IstMode::CostAware => {
            "As practical, and the backward pass stays within a budget on average: the fastest of the learned modes."
        }
        IstMode::Practical => {
            "Layers that matter are drawn more often; measured on rows set apart, with bounded scores so that no layer is \
             given up."
        }
    };
    let mut values = Values::new();
    if let Value::Object(settings) = tree(&IstConfig::preset(mode)) {
        // The share of the layers stays what a person has chosen.
        let settings = settings.into_iter().filter(|(name, _)| name != "fraction");
        values.extend(settings.map(|(name, value)| (format!("ist.{name}"), value)));
    }
    Mode { name: name_of(mode), sentence: sentence.into(), values }
}

fn preset((name, hint, rank, epochs, learning_rate): (&str, &str, usize, f64, f64)) -> Preset {
    let values = [
        ("method.rank", json!(rank)),
        ("method.alpha", json!(2.0 * rank as f64)),
        ("train.steps", json!(0)),
        ("train.epochs", json!(epochs)),
        ("train.learning_rate", json!(learning_rate)),
    ];
    let values = values.into_iter().map(|(path, value)| (path.to_string(), value)).collect();
    Preset { name: name.into(), hint: hint.into(), values }
}

/// As configurations write it.
pub(crate) fn name_of(mode: IstMode) -> String {
    tree(&mode).as_str().unwrap_or_default().to_string()
}

fn list(methods: &Methods) -> Vec<Value> {
    methods.iter().map(tree).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_models::ModelConfig;
    use stratune_protocol::{Field, FieldKind, SearchChoices};

    use super::*;

    /// Puts a value at its place, as a form does.
    fn put(tree: &mut Value, path: &str, value: Value) {
        match path.strip_prefix("method.") {
            Some(name) => {
                let methods = tree["method"].as_array_mut().unwrap();
                let mut those = methods.iter_mut().filter(|m| m.get(name).is_some()).peekable();
                assert!(those.peek().is_some(), "no method has {path}");
                those.for_each(|method| method[name] = value.clone());
            }
            None => *tree.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = value,
        }
    }

    /// A configuration that has the setting at a path.
    fn with(path: &str) -> Value {
        let search = path.starts_with("search.").then(stratune_protocol::SearchConfig::default);
        tree(&RunConfig { search, ..RunConfig::default() })
    }

    fn read(tree: &Value) -> Result<RunConfig, String> {
        let config: RunConfig = serde_json::from_value(tree.clone()).map_err(|e| e.to_string())?;
        config.validate().map_err(|p| p.to_string()).map(|()| config)
    }

    /// The numbers at the ends of a range, and one beyond each.
    fn ends(field: &Field) -> (Vec<f64>, Vec<f64>) {
        let FieldKind::Number(range) = &field.kind else { return (Vec::new(), Vec::new()) };
        let tiny = if range.whole { 1.0 } else { 1e-3 };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (bound, inside) in [(range.least, 1.0), (range.most, -1.0)] {
            good.extend(bound);
            bad.extend(bound.map(|x| x - inside * tiny));
        }
        for (bound, inside) in [(range.above, 1.0), (range.below, -1.0)] {
            good.extend(bound.map(|x| x + inside * tiny));
            bad.extend(bound);
        }
        (good, bad)
    }

    /// What forms refuse is what configurations refuse, at each end of each setting's range.
    #[test]
    fn ranges_are_those_of_the_configuration() {
        let catalogue = catalogue();
        let mut seen = 0;
        let mut check = |config: &Value, field: &Field| {
            let FieldKind::Number(range) = &field.kind else { return };
            let number = |x: f64| if range.whole && x >= 0.0 { json!(x as u64) } else { json!(x) };
            let with = |x: f64| {
                let mut there = config.clone();
                put(&mut there, &field.path, number(x));
                read(&there)
            };
            let (good, bad) = ends(field);
            for x in good {
                assert!(range.holds(x), "{} does not hold its own end {x}", field.path);
                with(x).unwrap_or_else(|why| panic!("{} {x}: {why}", field.path));
                seen += 1;
            }
            for x in bad {
                assert!(!range.holds(x) && with(x).is_err(), "{} takes {x}", field.path);
                seen += 1;
            }
        };
        for field in &catalogue.fields {
            let mut config = with(&field.path);
            if let Some((path, values)) = &field.only {
                put(&mut config, path, json!(values[0]));
            }
            check(&config, field);
        }
        for entry in catalogue.methods.iter().filter(|entry| !entry.methods.is_empty()) {
            for field in &entry.fields {
                let mut config = tree(&RunConfig::default());
                config["method"] = json!(entry.methods);
                // The rank that AdaLoRA starts with is no smaller than the one it ends with.
                if entry.methods[0].get("initial_rank").is_some() {
                    put(&mut config, "method.rank", json!(1));
                }
                check(&config, field);
            }
        }
        assert!(seen > 200, "{seen}");
    }

    #[test]
    fn every_setting_has_a_field_or_is_known_to_have_none() {
        let catalogue = catalogue();
        let paths: Vec<&str> = catalogue.fields.iter().map(|field| field.path.as_str()).collect();
        let config = with("search.by");
        for group in ["data", "ist", "train"] {
            for name in config[group].as_object().unwrap().keys() {
                let path = format!("{group}.{name}");
                let shown = paths.contains(&path.as_str());
                assert!(shown != run_fields::WITHOUT.contains(&path.as_str()), "{path}");
            }
        }
        for path in &paths {
            assert!(config.pointer(&format!("/{}", path.replace('.', "/"))).is_some(), "{path}");
        }
        for entry in catalogue.methods.iter().filter(|entry| !entry.methods.is_empty()) {
            let method = entry.methods[0].as_object().unwrap();
            let names = entry.fields.iter().map(|field| field.path.strip_prefix("method.").unwrap());
            let mut shown: Vec<&str> = names.collect();
            shown.sort_unstable();
            let mut has: Vec<&str> = method.keys().map(String::as_str).filter(|name| *name != "kind").collect();
            has.sort_unstable();
            assert_eq!(shown, has, "{}", entry.name);
        }
    }

    #[test]
    fn choices_are_values_that_configurations_take() {
        let catalogue = catalogue();
        let all = catalogue.fields.iter().map(|field| (with(&field.path), field));
        let of_methods = catalogue.methods.iter().flat_map(|entry| {
            entry.fields.iter().map(|field| {
                let mut config = tree(&RunConfig::default());
                config["method"] = json!(entry.methods);
                (config, field)
            })
        });
        let mut seen = 0;
        for (config, field) in all.chain(of_methods) {
            let FieldKind::Choice(options) = &field.kind else { continue };
            assert!(!options.is_empty());
            for (value, called) in options {
                let mut there = config.clone();
                put(&mut there, &field.path, value.clone());
                read(&there).unwrap_or_else(|why| panic!("{} {value}: {why}", field.path));
                assert!(!called.is_empty());
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn modes_and_presets_make_sound_configurations() {
        let catalogue = catalogue();
        for entry in &catalogue.methods {
            assert!(!entry.modes.is_empty() && entry.sentence.ends_with('.'), "{}", entry.name);
            for mode in catalogue.modes.iter().filter(|_| !entry.methods.is_empty()) {
                let mut config = tree(&RunConfig::default());
                config["method"] = json!(entry.methods);
                mode.values.iter().for_each(|(path, value)| put(&mut config, path, value.clone()));
                assert_eq!(read(&config).is_ok(), entry.modes.contains(&mode.name), "{} {}", entry.name, mode.name);
            }
        }
        for mode in &catalogue.modes {
            let mut config = tree(&page_default());
            mode.values.iter().for_each(|(path, value)| put(&mut config, path, value.clone()));
            assert_eq!(read(&config).unwrap().ist, IstConfig::preset(mode.name.parse().unwrap()));
        }
        for preset in &catalogue.presets {
            let mut config = tree(&page_default());
            preset.values.iter().for_each(|(path, value)| put(&mut config, path, value.clone()));
            let config = read(&config).unwrap();
            assert_eq!(config == page_default(), preset.name == catalogue.preset_of_starter, "{}", preset.name);
            assert_eq!(config.train == RunConfig::default().train, preset.name == catalogue.preset_of_others);
        }
    }

    #[test]
    fn searchers_and_spaces_make_sound_searches() {
        let SearchChoices { begin, searchers, spaces } = catalogue().search;
        let model = stratune_protocol::testing::model(2, [8, 20, 8, 4]);
        let counts = choices(&model).spaces;
        assert!(searchers.len() > 5 && spaces.len() == counts.len());
        for (space, all) in spaces.iter().zip(counts) {
            for searcher in &searchers {
                let mut config = with("search.by");
                config["search"] = begin.clone();
                let values = space.values.iter().chain(&searcher.values);
                values.for_each(|(path, value)| put(&mut config, path, value.clone()));
                put(&mut config, "search.budget", json!(all / 4));
                let config = crate::as_search(read(&config).unwrap());
                assert_eq!(config.search.as_ref().unwrap().by.name(), searcher.name);
                assert_eq!(crate::search::search_size(&config, &model).1, None, "{} {}", space.name, searcher.name);
            }
        }
    }

    #[test]
    fn a_model_leaves_its_layers_and_combinations() {
        let json = json!({
            "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 160,
            "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 2,
        });
        let model = ModelConfig::from_json(&json, "config.json").unwrap().report("", 0);
        let choices = choices(&model);
        assert_eq!(choices.targets[..2], ["q_proj", "k_proj"]);
        let names: Vec<_> = catalogue().methods.into_iter().filter(|m| m.methods.is_empty()).map(|m| m.name).collect();
        assert_eq!(choices.combinations.iter().map(|c| c.0.clone()).collect::<Vec<_>>(), names);
        for (name, methods) in choices.combinations {
            let mut config = tree(&RunConfig::default());
            config["method"] = json!(methods);
            read(&config).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}
