//! A budget in time: what modules take of a step, as it was measured.

use stratune_protocol::{Problem, ProblemKind, SearchConfig, StepTime};

use crate::Module;

/// Counts modules by the time that they take of a step, and gives that of a step without them.
///
/// # Errors
/// It was not measured, or not that of a module.
pub(crate) fn timed(modules: &mut [Module], search: &SearchConfig) -> Result<u64, Problem> {
    let Some(StepTime { base, modules: times }) = &search.step_time else {
        return Err(Problem::new(ProblemKind::Internal, "nobody has measured what a step takes with each module")
            .at("search.step_time")
            .next("give the budget in numbers"));
    };
    for module in modules {
        let (method, name) = (module.kind().name(), module.place().name);
        let time = times.iter().find(|time| time.method == method && time.name == name).ok_or_else(|| {
            Problem::input(format!("what a step takes with {} is not given", module.name()))
                .at("search.step_time")
                .next("leave it out: it is measured before the search")
        })?;
        module.counts = [time.fixed, time.each];
    }
    Ok(*base)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_peft::MethodKind;
    use stratune_protocol::{BudgetUnit, ModuleTime};
    use stratune_train::RunConfig;

    use super::*;
    use crate::Space;
    use crate::space::tests::{config, model};

    /// A budget in microseconds: 100 without modules, LoRA 10 and 2 for each rank, biases 5, norms 7.
    fn in_time(config: &mut RunConfig, change: impl Fn(&mut StepTime)) {
        let names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        let time = |method: &str, name: &str, fixed, each| ModuleTime {
            method: method.into(),
            name: name.into(),
            fixed,
            each,
        };
        let linear = names.into_iter().flat_map(|name| [time("lora", name, 10, 2), time("bitfit", name, 5, 0)]);
        let mut times = StepTime { base: 100, modules: linear.chain([time("layer_norm", "", 7, 0)]).collect() };
        change(&mut times);
        let search = config.search.as_mut().unwrap();
        (search.unit, search.step_time) = (BudgetUnit::StepTime, Some(times));
    }

    #[test]
    fn a_budget_may_be_the_time_of_a_step() {
        let mut config = config(300);
        config.search.as_mut().unwrap().larger_budgets = vec![400];
        in_time(&mut config, |_| {});
        let space = Space::new(&config, &model()).unwrap();
        assert_eq!((space.budget, &space.larger[..], space.whole(space.budget)), (200, &[300][..], 300));
        let count = |method, size| space.modules.iter().find(|m| m.kind() == method).unwrap().count(size);
        assert_eq!([count(MethodKind::Lora, 8), count(MethodKind::Lora, 1), count(MethodKind::Lora, 0)], [26, 12, 0]);
        assert_eq!([count(MethodKind::Bitfit, 1), count(MethodKind::LayerNorm, 1)], [5, 7]);
        assert_eq!(space.all(), 2 * (7 * (26 + 5) + 7));
        let best = space.best(&vec![1.0; space.modules.len()]);
        assert!((190..=200).contains(&space.count(&best)), "{best:?}");
    }

    #[test]
    fn what_is_not_known_or_too_much_is_told() {
        type Spoil = fn(&mut RunConfig);
        let cases: [(&str, Spoil); 3] = [
            ("nobody has measured", |c| c.search.as_mut().unwrap().unit = BudgetUnit::StepTime),
            ("takes with lora at model.layers.0.self_attn.q_proj is not given", |c| in_time(c, |t| t.modules.clear())),
            ("the budget is 0.30 ms a step, and without any module it is 0.30", |c| in_time(c, |t| t.base = 300)),
        ];
        for (named, spoil) in cases {
            let mut config = config(300);
            spoil(&mut config);
            let problem = Space::new(&config, &model()).unwrap_err();
            assert!(problem.what.contains(named) && !problem.next.is_empty(), "{problem}");
        }
    }
}
