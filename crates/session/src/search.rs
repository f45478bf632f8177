//! A search as front ends have it: what of a configuration it settles itself, and what it finds.

use stratune_peft::Structure;
use stratune_protocol::{
    BudgetUnit, IstMode, ModelReport, NUMBER_BYTES, Problem, Schedule, SearchBy, SearchSize, StructureReport,
};
use stratune_search::{Space, in_blocks};
use stratune_train::{Event, RunConfig};

use crate::link::tree;

/// A configuration as it searches, if it does: the methods at the largest size, all layers, and what every search settles.
pub fn as_search(mut config: RunConfig) -> RunConfig {
    let Some(search) = &config.search else { return config };
    let largest = search.largest();
    let sized = config.method.iter_mut().filter(|method| method.size().is_some());
    sized.for_each(|method| *method = method.resized(largest));
    config.ist.mode = IstMode::All;
    settle_search(&mut config);
    config
}

/// What every search settles of its run: its own number of steps, if it has one; nothing is measured in between, which would be
/// of all modules together; and where one structure trains after the other, each has the same learning rate.
pub fn settle_search(config: &mut RunConfig) {
    let Some(search) = &config.search else { return };
    (config.train.eval_every, config.train.patience) = (0, 0);
    if search.steps > 0 {
        config.train.steps = search.steps;
    }
    if search.by == SearchBy::Autopeft {
        (config.train.schedule, config.train.warmup_steps) = (Schedule::Constant, 0);
    }
}

/// What a search chooses from, and what keeps it from being one.
pub(crate) fn search_size(config: &RunConfig, model: &ModelReport) -> (SearchSize, Option<Problem>) {
    let config = in_blocks(config.clone(), model);
    let size = |space: &Space| SearchSize {
        modules: space.modules.len(),
        all: space.all(),
        least: space.least(),
        number_bytes: NUMBER_BYTES,
    };
    if config.search.as_ref().is_some_and(|search| search.unit == BudgetUnit::StepTime) {
        // What a step takes is measured when the search begins.
        return match Space::new(&of_any_budget(config, model), model) {
            Ok(space) => (size(&space), None),
            Err(problem) => (SearchSize::default(), Some(problem)),
        };
    }
    match Space::new(&config, model) {
        Ok(space) => (size(&space), None),
        // What there is to choose from does not depend on the budget.
        Err(problem) => {
            let space = Space::new(&of_any_budget(config, model), model);
            (space.map(|space| size(&space)).unwrap_or_default(), Some(problem))
        }
    }
}

/// The same search for nearly all numbers, to which nobody could object.
pub(crate) fn of_any_budget(mut config: RunConfig, model: &ModelReport) -> RunConfig {
    let all = config.method.trainable(model);
    if let Some(search) = &mut config.search {
        search.budget = all.saturating_sub(1).max(1);
        search.larger_budgets.clear();
        (search.unit, search.step_time) = (BudgetUnit::Numbers, None);
    }
    config
}

/// A structure on a model, as it is told. `file` is what it was read from; empty if it was found.
///
/// # Errors
/// The model lacks what it names.
pub(crate) fn structure_event(structure: &Structure, model: &ModelReport, file: &str) -> Result<Event, Problem> {
    let methods = structure.methods(model)?;
    Ok(Event::Structure(StructureReport {
        file: file.into(),
        text: structure.to_json()?,
        modules: structure.sites.len(),
        parameters: methods.trainable(model),
        methods: methods.iter().map(tree).collect(),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_peft::{MethodKind, MethodNames, Placed};
    use stratune_protocol::SearchConfig;

    use super::*;

    fn model() -> ModelReport {
        stratune_protocol::testing::model(2, [8, 20, 8, 4])
    }

    fn config(budget: u64) -> RunConfig {
        let names: MethodNames = "lora,bitfit,layer_norm".parse().unwrap();
        let search = SearchConfig { budget, sizes: vec![1, 4], ..SearchConfig::default() };
        as_search(RunConfig { method: names.methods(&model()), search: Some(search), ..RunConfig::default() })
    }

    #[test]
    fn a_search_is_sized_whatever_its_budget() {
        let (size, problem) = search_size(&config(300), &model());
        assert_eq!((size.modules, problem), (2 * (7 + 7 + 1), None));
        assert!(size.least > 0 && size.least < 300 && size.all > 300);
        for budget in [1, size.all] {
            let (same, problem) = search_size(&config(budget), &model());
            assert_eq!((same, problem.unwrap().at.as_str()), (size, "search.budget"));
        }
        let mut in_time = config(1);
        in_time.search.as_mut().unwrap().unit = BudgetUnit::StepTime;
        assert_eq!(search_size(&in_time, &model()), (size, None), "what a step takes is not known yet");
    }

    #[test]
    fn a_search_trains_all_layers_at_the_largest_size() {
        let config = config(300);
        config.validate().unwrap();
        assert_eq!((config.method[0].rank, config.ist.mode), (Some(4), IstMode::All));
        for (own, steps) in [(0, 40), (15, 15)] {
            let search = SearchConfig { steps: own, ..SearchConfig::default() };
            let mut config = RunConfig { search: Some(search), ..RunConfig::default() };
            config.train.steps = 40;
            assert_eq!(as_search(config).train.steps, steps);
        }
        let plain = RunConfig::default();
        assert_eq!(as_search(plain.clone()), plain);
        for by in SearchBy::ALL {
            let mut config = RunConfig { search: Some(SearchConfig::preset(by)), ..RunConfig::default() };
            config.train.warmup_steps = 3;
            let train = as_search(config).train;
            let is_steady = (train.schedule, train.warmup_steps) == (Schedule::Constant, 0);
            assert_eq!((is_steady, train.eval_every), (by == SearchBy::Autopeft, 0), "{by:?}");
        }
    }

    /// What is told of a structure is enough for a run's file, without the structure beside it.
    #[test]
    fn a_structure_is_told_as_methods() {
        let site = |rank, block, name| Placed {
            rank: Some(rank),
            alpha: Some(rank as f32),
            ..Placed::at(&format!("model.layers.{block}.{name}"), MethodKind::Lora)
        };
        let sites =
            vec![site(4, 0, "self_attn.q_proj"), site(1, 1, "mlp.up_proj"), Placed::in_block(1, MethodKind::LayerNorm)];
        let structure = Structure::new(&model(), sites);
        let Event::Structure(told) = structure_event(&structure, &model(), "").unwrap() else { panic!() };
        let method = serde_json::from_value(told.methods.clone().into()).unwrap();
        let config = RunConfig { method, ..RunConfig::default() };
        assert_eq!((config.method.clone(), told.modules), (structure.methods(&model()).unwrap(), 3));
        assert_eq!(told.parameters, 4 * 16 + 28 + 2 * 8);
        assert_eq!(RunConfig::from_toml(&config.to_toml().unwrap()).unwrap(), config);
        assert!(!crate::to_link(&config).contains("method"), "a structure is no part of an address");
        let other = stratune_protocol::testing::model(2, [8, 20, 8, 4]);
        let lacking = ModelReport { modules: Vec::new(), ..other };
        assert!(structure_event(&structure, &lacking, "a.json").is_err());
    }
}
