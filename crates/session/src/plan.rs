//! What a run would be: how much it trains, what it takes, and what keeps it from being one.

use std::collections::BTreeSet;

use serde_json::Value;
use stratune_peft::{MethodConfig, MethodPreset, Methods};
use stratune_protocol::{
    AdapterInfo, DataReport, IstConfig, IstMode, ModelReport, NUMBER_BYTES, Plan, Problem, RunSize,
};
use stratune_search::in_blocks;
use stratune_train::RunConfig;

use crate::Conditions;
use crate::catalogue::name_of;
use crate::link::to_link;
use crate::search::{as_search, search_size};

/// What is known of a run's model, data and device, as far as they are there.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The device.
    pub device: Option<AdapterInfo>,
    /// The model.
    pub model: Option<ModelReport>,
    /// The data.
    pub data: Option<DataReport>,
}

impl Known {
    /// What a run of a configuration would be. One that cannot be read is a plan of nothing but the problem.
    pub fn plan(&self, config: &Value) -> Plan {
        match serde_json::from_value(config.clone()) {
            Ok(config) => self.plan_of(&config),
            Err(error) => {
                let problem = Problem::input(format!("the settings cannot be used: {error}"));
                Plan { problem: Some(problem.next("correct them, or reload the page")), ..Plan::default() }
            }
        }
    }

    /// What a run of this configuration would be.
    pub fn plan_of(&self, config: &RunConfig) -> Plan {
        let link = to_link(config);
        let model = self.model.as_ref();
        let config = &match (as_search(config.clone()), model) {
            (config, Some(model)) if config.search.is_some() => in_blocks(config, model),
            (config, _) => config,
        };
        let searched = model.filter(|_| config.search.is_some()).map(|model| search_size(config, model));
        let layers = model.map(|model| model.layers);
        let combination = combination(&config.method, model);
        let first = config.method.first();
        let drawn_then = layers.and_then(|layers| drawn_at_each_step(&config.ist, layers));
        let read_as = self.data.as_ref().map(|data| format!("read as: {}", data.format));
        let notes = [("ist.fraction", drawn_then), ("data.format", read_as)];
        Plan {
            problem: config.validate().err().or_else(|| searched.as_ref()?.1.clone()),
            method: match combination {
                Some(preset) => preset.name().to_string(),
                None => first.map(|method| method.kind.name().to_string()).unwrap_or_default(),
            },
            title: match &config.search {
                Some(search) => format!("Search by {}", search.by.title()),
                None => config.method.title(),
            },
            layers: drawn(&config.ist, layers),
            notes: notes.into_iter().filter_map(|(path, note)| Some((path.to_string(), note?))).collect(),
            link: Some(link),
            steps: self.data.as_ref().map(|data| {
                let rows = data.train_rows;
                steps(config, rows - config.rows_apart(rows))
            }),
            size: model.map(|model| size(&config.method, model)),
            search: searched.map(|(size, _)| size),
            memory: self.memory_report(config).map(Into::into),
        }
    }

    fn memory_report(&self, config: &RunConfig) -> Option<crate::MemoryReport> {
        let (model, device, data) = (self.model.as_ref()?, self.device.as_ref()?, self.data.as_ref()?);
        Some(Conditions { model, device, width: Some(data.width) }.memory_report(config))
    }
}

/// The combination that a list of methods is, whatever its numbers.
fn combination(methods: &Methods, model: Option<&ModelReport>) -> Option<MethodPreset> {
    let marks = |m: &MethodConfig| (m.kind, m.layers.clone(), m.gated);
    MethodPreset::ALL.into_iter().find(|preset| {
        let theirs = preset.methods(model.unwrap_or(&ModelReport::default()));
        // One method alone is the combination only if it has what sets the combination apart.
        let alone = theirs.len() == 1;
        !theirs.is_empty()
            && theirs.iter().map(marks).eq(methods.iter().map(marks))
            && (!alone || theirs[0].share == methods[0].share)
    })
}

fn size(methods: &Methods, model: &ModelReport) -> RunSize {
    let trainable = methods.trainable(model);
    let sites: BTreeSet<&str> = methods.iter().flat_map(|m| m.sites(model)).map(|site| site.name()).collect();
    let names = model.linear_names();
    let targets: Vec<String> = names.iter().filter(|name| sites.contains(*name)).map(ToString::to_string).collect();
    RunSize {
        trainable,
        share: trainable as f64 / model.parameters.max(1) as f64,
        adapter_bytes: trainable.saturating_mul(NUMBER_BYTES),
        all_targets: targets.len() == names.len(),
        targets,
    }
}

/// Steps of a run on so many training rows.
fn steps(config: &RunConfig, rows: usize) -> usize {
    let train = &config.train;
    if train.steps > 0 {
        return train.steps;
    }
    let batches = rows.div_ceil(train.batch_size.max(1)) as f64 * f64::from(train.epochs);
    (batches / train.accumulation.max(1) as f64).ceil().max(1.0) as usize
}

/// Which layers train at a step, in a few words.
fn drawn(ist: &IstConfig, layers: Option<usize>) -> String {
    match (ist.mode, layers) {
        (IstMode::All, _) => "all layers".to_string(),
        (IstMode::Scored, _) => "all layers, scored".to_string(),
        (mode, None) => name_of(mode),
        (mode, Some(n)) => format!("{} of {n} layers, {}", IstConfig::blocks(ist.fraction, n), name_of(mode)),
    }
}

/// What the share of the layers comes to.
fn drawn_at_each_step(ist: &IstConfig, layers: usize) -> Option<String> {
    let blocks = IstConfig::blocks(ist.fraction, layers);
    match ist.mode {
        IstMode::All | IstMode::Scored => None,
        IstMode::CostAware => Some(format!("at most {blocks} of {layers} layers at each step")),
        IstMode::Random | IstMode::Faithful | IstMode::Practical => {
            Some(format!("{blocks} of {layers} layers at each step"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use stratune_models::ModelConfig;
    use stratune_peft::MethodKind;
    use stratune_protocol::{Targets, Verdict};

    use super::*;
    use crate::link::tree;

    fn model() -> ModelReport {
        let json = json!({
            "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 160,
            "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        });
        ModelConfig::from_json(&json, "config.json").unwrap().report("", 100_000)
    }

    fn known() -> Known {
        let device = AdapterInfo { device: "cpu".into(), ..AdapterInfo::default() };
        let data = DataReport { train_rows: 270, width: 32, ..DataReport::default() };
        Known { device: Some(device), model: Some(model()), data: Some(data) }
    }

    #[test]
    fn what_is_not_there_yet_is_left_out() {
        let config = RunConfig::default();
        let plan = Known::default().plan_of(&config);
        assert_eq!((plan.steps, plan.size, plan.memory, plan.problem), (None, None, None, None));
        assert_eq!(
            (plan.title.as_str(), plan.method.as_str(), plan.layers.as_str()),
            ("LoRA r8", "lora", "all layers")
        );
        let known = known();
        let plan = known.plan(&tree(&config));
        let size = plan.size.unwrap();
        assert_eq!(size.trainable, config.method.trainable(&model()));
        assert_eq!(size.adapter_bytes, 4 * size.trainable);
        assert!((size.share - size.trainable as f64 / 1e5).abs() < 1e-12);
        assert!(size.all_targets && size.targets.len() == 7);
        let memory = plan.memory.unwrap();
        assert_eq!(memory.verdict, Verdict::Unknown);
        assert_eq!(memory.bytes, memory.parts.iter().map(|part| part.1).sum::<u64>());
        assert!(memory.sentence.starts_with("Needs"));
    }

    #[test]
    fn targets_are_named_as_the_model_names_them() {
        let mut config = RunConfig::default();
        config.method[0].targets = Some(Targets::listed(&["v_proj", "query"]));
        let size = known().plan_of(&config).size.unwrap();
        assert_eq!((size.targets, size.all_targets), (vec!["q_proj".to_string(), "v_proj".into()], false));
        let prompt = RunConfig { method: MethodKind::Prompt.into(), ..RunConfig::default() };
        assert!(known().plan_of(&prompt).size.unwrap().targets.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut config = tree(&RunConfig::default());
        config["train"]["batch_size"] = json!(0);
        assert_eq!(known().plan(&config).problem.unwrap().at, "train.batch_size");
        config["train"]["batch_size"] = json!("many");
        assert!(known().plan(&config).problem.unwrap().what.contains("\"many\""));
        config["train"]["batch_size"] = json!(1);
        config["method"] = json!([{ "kind": "bitfit", "rank": 1 }]);
        assert!(known().plan(&config).problem.unwrap().what.contains("bitfit has no setting rank"));
    }

    #[test]
    fn steps_of_a_run() {
        let mut config = RunConfig::default();
        // 34 batches of 8 or fewer, three times.
        assert_eq!(steps(&config, 270), 102);
        assert_eq!(steps(&config, 0), 1);
        config.train.accumulation = 2;
        assert_eq!(steps(&config, 270), 51);
        config.train.steps = 20;
        assert_eq!(steps(&config, 270), 20);
    }

    #[test]
    fn layers_in_words() {
        for (mode, at, note) in [
            (IstMode::All, "all layers", None),
            (IstMode::Scored, "all layers, scored", None),
            (IstMode::Random, "3 of 12 layers, random", Some("3 of 12 layers at each step")),
            (IstMode::CostAware, "3 of 12 layers, cost_aware", Some("at most 3 of 12 layers at each step")),
        ] {
            let config = RunConfig { ist: IstConfig::preset(mode), ..RunConfig::default() };
            let plan = known().plan_of(&config);
            assert_eq!(plan.layers, at);
            assert_eq!(plan.notes.get("ist.fraction").map(String::as_str), note);
        }
        let config = RunConfig { ist: IstConfig::preset(IstMode::Random), ..RunConfig::default() };
        assert_eq!(Known::default().plan_of(&config).layers, "random");
    }

    #[test]
    fn combinations_are_known_by_their_name() {
        for preset in MethodPreset::ALL {
            let config = RunConfig { method: preset.methods(&model()), ..RunConfig::default() };
            let plan = known().plan_of(&config);
            assert_eq!(plan.method, preset.name());
        }
        for kind in MethodKind::ALL {
            let config = RunConfig { method: kind.into(), ..RunConfig::default() };
            assert_eq!(known().plan_of(&config).method, kind.name());
        }
    }
}
