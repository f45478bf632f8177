//! What a step takes with each module of a search, measured where it runs: for budgets in time.
//!
//! Some networks take turns, step by step, each on the same rows: one with all modules at their largest, one with all at their
//! smallest, one with those of the lowest block alone, and for each method at the layers of one name one that lacks it behind
//! the lowest block. The lowest block keeps all of its modules, so that each network goes back through as many blocks. What
//! the third saves is what all modules behind that block take, and what the others save says how it is shared among them: a
//! clock that is disturbed by a few per cent of a step would otherwise be added up over all of them. What is left of a step is
//! the base: a structure that begins higher takes less.

use std::rc::Rc;

use stratune_data::Dataset;
use stratune_protocol::{BudgetUnit, ModuleTime, Problem, StepTime};
use stratune_runtime::Stopwatch;
use stratune_search::{Sizes, Space};
use stratune_train::{Identity, NoOutput, ProgressReporter, RunConfig, Trainer};

use crate::Base;
use crate::labels::for_dataset;
use crate::run::hooks_for;
use crate::search::of_any_budget;

/// Steps of each network that are not measured: the first prepares kernels and memory.
const WARM_UP: usize = 1;

/// Steps that are. The fastest counts, for what disturbs a step makes it slower: of each network the same, as all take the
/// same rows. A usual step takes as many times that as the median of all steps of the first network.
const MEASURED: usize = 5;

/// The same search, with what a step takes if its budget is in time and does not say so itself.
///
/// # Errors
/// It has no module, or none outside of one block, the device fails, or a person has stopped it.
pub(crate) async fn with_step_time(
    mut config: RunConfig,
    base: &Base,
    dataset: &Rc<Dataset>,
    watch: &ProgressReporter<'_>,
) -> Result<RunConfig, Problem> {
    let wanted = |config: &RunConfig| {
        config.search.as_ref().is_some_and(|s| s.unit == BudgetUnit::StepTime && s.step_time.is_none())
    };
    if wanted(&config) {
        let measured = measure(&config, base, dataset, watch).await?;
        config.search.iter_mut().for_each(|search| search.step_time = Some(measured.clone()));
    }
    Ok(config)
}

async fn measure(
    config: &RunConfig,
    base: &Base,
    dataset: &Rc<Dataset>,
    watch: &ProgressReporter<'_>,
) -> Result<StepTime, Problem> {
    let report = base.report();
    let space = Space::new(&of_any_budget(config.clone(), &report), &report)?;
    let groups = groups(&space)?;
    let mut networks = Vec::new();
    for sizes in networks_of(&space, &groups) {
        let mut config =
            RunConfig { method: space.structure(&sizes).methods(&report)?, search: None, ..config.clone() };
        config.train.steps = WARM_UP + MEASURED;
        let (mut model, objective) = for_dataset(&base.model, dataset, &config)?;
        model.attach(&config.method, config.train.seed).await?;
        model.train_classifier();
        let hooks = hooks_for(&config, model.layers.len());
        let trainer = Trainer::new(config, model, dataset.clone(), hooks, Identity::default())?;
        networks.push((trainer.with_objective(objective), Vec::new()));
    }
    let what = "measuring what a step takes with each module";
    let (mut done, total) = (0, (WARM_UP + MEASURED) * networks.len());
    for round in 0..WARM_UP + MEASURED {
        for (trainer, seconds) in &mut networks {
            let clock = Stopwatch::start();
            watch.during_part(what, (done, total), trainer.advance(&mut NoOutput::default())).await?;
            if round >= WARM_UP {
                seconds.push(clock.seconds());
            }
            done += 1;
        }
    }
    watch.tell(what, total, total);
    let seconds: Vec<Vec<f64>> = networks.into_iter().map(|(_, seconds)| seconds).collect();
    Ok(step_time(&space, &groups, &usual(&seconds)))
}

/// The modules of one method at the layers of one name.
struct Group {
    method: &'static str,
    name: String,
    /// All of them.
    modules: Vec<usize>,
    /// Those behind the lowest block.
    behind: Vec<usize>,
}

/// The space's modules, in groups.
///
/// # Errors
/// Some are in the lowest block alone.
fn groups(space: &Space) -> Result<Vec<Group>, Problem> {
    let block = |module: usize| space.modules[module].place().block;
    let lowest = (0..space.modules.len()).map(block).min().unwrap_or(0);
    let mut groups: Vec<Group> = Vec::new();
    for (i, module) in space.modules.iter().enumerate() {
        let (method, name) = (module.kind().name(), module.place().name);
        let at = groups.iter().position(|group| group.method == method && group.name == name).unwrap_or_else(|| {
            groups.push(Group { method, name, modules: Vec::new(), behind: Vec::new() });
            groups.len() - 1
        });
        groups[at].modules.push(i);
        if block(i) > lowest {
            groups[at].behind.push(i);
        }
    }
    match groups.iter().find(|group| group.behind.is_empty()) {
        None => Ok(groups),
        Some(group) => {
            let module = space.modules[group.modules[0]].name();
            Err(Problem::input(format!(
                "what a step takes with {module} cannot be told apart: it is in one block alone"
            ))
            .at("search.budget")
            .next("give the budget in numbers, or search in several blocks"))
        }
    }
}

/// What a usual step of each network takes: its fastest, by as much longer as the first one's median is than its fastest.
fn usual(seconds: &[Vec<f64>]) -> Vec<f64> {
    let fastest = |of: &Vec<f64>| of.iter().copied().fold(f64::INFINITY, f64::min);
    let mut first = seconds.first().cloned().unwrap_or_default();
    first.sort_by(f64::total_cmp);
    let median = first.get(first.len() / 2).copied().unwrap_or_default();
    let longer = first.first().map_or(1.0, |fastest| median / fastest.max(f64::MIN_POSITIVE));
    seconds.iter().map(|of| fastest(of) * longer).collect()
}

/// The networks that are measured: all modules at their largest, all at their smallest, those of the lowest block alone, and
/// without each group.
fn networks_of(space: &Space, groups: &[Group]) -> Vec<Sizes> {
    let largest: Sizes = space.modules.iter().map(|module| module.largest()).collect();
    let smallest = space.modules.iter().map(|module| module.sizes[0]).collect();
    let without = groups.iter().map(|group| {
        let mut sizes = largest.clone();
        group.behind.iter().for_each(|module| sizes[*module] = 0);
        sizes
    });
    let mut lowest = largest.clone();
    groups.iter().flat_map(|group| &group.behind).for_each(|module| lowest[*module] = 0);
    [largest.clone(), smallest, lowest].into_iter().chain(without).collect()
}

/// What the steps of [`networks_of`] say, in seconds. A module takes a microsecond at least, whatever the clock says. What
/// sizes add is one share of it for all modules that have some.
fn step_time(space: &Space, groups: &[Group], seconds: &[f64]) -> StepTime {
    let [largest, smallest, lowest] = [0, 1, 2].map(|network| seconds[network] * 1e6);
    let all = (largest - lowest).max(0.0);
    let saved: Vec<f64> = seconds[3..].iter().map(|without| (largest - without * 1e6).max(0.0)).collect();
    let sum: f64 = saved.iter().sum();
    let share = |saved: f64| if sum > 0.0 { saved / sum } else { 1.0 / groups.len() as f64 };
    let each: Vec<f64> = groups
        .iter()
        .zip(saved)
        .map(|(group, saved)| (all * share(saved) / group.behind.len() as f64).max(1.0))
        .collect();
    let sized = |group: &Group| space.modules[group.modules[0]].has_sizes();
    let of = |wanted: bool| -> f64 {
        let groups = groups.iter().zip(&each).filter(|(group, _)| sized(group) == wanted);
        groups.map(|(group, each)| group.modules.len() as f64 * each).sum()
    };
    let (with_sizes, others) = (of(true), of(false));
    let base = (largest - with_sizes - others).max(0.0);
    // At the smallest size s all modules that have one take a share r of what they take at the largest l: a + bs = r, a + bl = 1.
    let share = if with_sizes > 0.0 { ((smallest - base - others) / with_sizes).clamp(0.0, 1.0) } else { 1.0 };
    let modules = groups.iter().zip(each).map(|(group, each)| {
        let module = &space.modules[group.modules[0]];
        let steps = (module.largest() - module.sizes[0]) as f64;
        let slope = if module.has_sizes() && steps > 0.0 { each * (1.0 - share) / steps } else { 0.0 };
        let fixed = (each - slope * module.largest() as f64).max(0.0);
        ModuleTime {
            method: group.method.into(),
            name: group.name.clone(),
            fixed: fixed.round().max(if slope < 0.5 { 1.0 } else { 0.0 }) as u64,
            each: slope.round() as u64,
        }
    });
    StepTime { base: base.round() as u64, modules: modules.collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_peft::MethodNames;
    use stratune_protocol::SearchConfig;

    use super::*;

    fn space(methods: &str, blocks: usize) -> Space {
        let model = stratune_protocol::testing::model(blocks, [8, 20, 8, 4]);
        let methods: MethodNames = methods.parse().unwrap();
        let search = SearchConfig { sizes: vec![1, 4], ..SearchConfig::default() };
        let config = RunConfig { method: methods.methods(&model), search: Some(search), ..RunConfig::default() };
        let config = stratune_search::in_blocks(crate::as_search(config), &model);
        Space::new(&of_any_budget(config, &model), &model).unwrap()
    }

    /// Of clocks that follow a rule the rule comes back: 50 ms, LoRA 2 ms at the largest size and half of that at the smallest,
    /// biases 0.5 ms.
    #[test]
    fn times_are_what_networks_differ_by() {
        let space = space("lora,bitfit", 3);
        let groups = groups(&space).unwrap();
        assert_eq!((groups.len(), groups[0].modules.len(), groups[0].behind.len()), (14, 3, 2));
        let takes = |sizes: Sizes| -> f64 {
            let of = |(module, size): (&stratune_search::Module, usize)| match (module.has_sizes(), size) {
                (_, 0) => 0.0,
                (false, _) => 0.5e-3,
                (true, size) => 1e-3 * (2.0 / 3.0 + size as f64 / 3.0),
            };
            0.05 + space.modules.iter().zip(sizes).map(of).sum::<f64>()
        };
        let seconds: Vec<f64> = networks_of(&space, &groups).into_iter().map(takes).collect();
        let time = step_time(&space, &groups, &seconds);
        assert_eq!(time.base, 50_000);
        for of in &time.modules {
            let rule = if of.method == "lora" { (667, 333) } else { (500, 0) };
            assert_eq!((of.fixed, of.each), rule, "{} {}", of.method, of.name);
        }
        assert_eq!(time.modules.iter().filter(|of| of.method == "lora" && of.name == "q_proj").count(), 1);
    }

    /// A clock that is too coarse, or disturbed, makes no module free and no base negative.
    #[test]
    fn noise_gives_no_nonsense() {
        let space = space("lora,bitfit,layer_norm", 2);
        let groups = groups(&space).unwrap();
        for noise in [vec![0.0; groups.len() + 3], (0..groups.len() + 3).map(|n| (n % 4) as f64).collect()] {
            let time = step_time(&space, &groups, &noise);
            assert!(time.modules.iter().all(|of| of.fixed + of.each > 0), "{time:?}");
        }
    }

    /// The fastest of each, by as much longer as the usual step of the first.
    #[test]
    fn what_disturbs_a_step_is_left_out() {
        let seconds = vec![vec![3.0, 2.0, 2.5], vec![9.0, 1.0, 1.5]];
        assert_eq!(usual(&seconds), [2.5, 1.25]);
    }

    #[test]
    fn one_block_alone_is_told() {
        let problem = groups(&space("lora", 1)).err().unwrap();
        assert!(problem.what.contains("one block alone") && problem.next.contains("numbers"), "{problem}");
    }
}
