//! The part of the third card where a budget decides what is trained.

use leptos::prelude::*;
use stratune_protocol::{Budget, BudgetUnit, Field, Preset, Problem};

use crate::parts::field::{These, id_of};
use crate::state::search::{BUDGET, budget_of, set_budget, share, written};
use crate::state::use_run;
use crate::units;

/// Shares of all numbers that are offered as budgets, in per cent.
const SHARES: [u64; 3] = [5, 10, 25];

/// The settings of a search.
#[component]
pub fn SearchFields() -> impl IntoView {
    let run = use_run();
    let fields = move |advanced: bool| {
        Memo::new(move |_| {
            let its = |f: &&Field| f.path.starts_with("search.") && f.path != BUDGET && f.advanced == advanced;
            run.catalogue.with(|c| c.fields.iter().filter(its).cloned().collect::<Vec<_>>())
        })
    };
    let space = move |(index, Preset { name, hint, values }): (usize, Preset)| {
        let is_chosen = move || {
            let kinds = |v: &serde_json::Value| {
                let all = v.as_array().into_iter().flatten();
                all.filter_map(|m| m.get("kind").cloned()).collect::<Vec<_>>()
            };
            let theirs = values.get("method").map(kinds).unwrap_or_default();
            run.config.with(|c| c.get("method").map(kinds).is_some_and(|kinds| kinds == theirs)).to_string()
        };
        view! {
            <button type="button" id=format!("space-{index}") title=hint aria-pressed=is_chosen on:click=move |_| run.choose_space(index)>
                {name}
            </button>
        }
    };
    let spaces =
        move || run.catalogue.with(|c| c.search.spaces.clone()).into_iter().enumerate().map(space).collect_view();
    view! {
        <div class="choices" role="group" aria-label="What is searched among">{spaces}</div>
        <div class="fields">
            <BudgetField />
            <These fields=fields(false) />
        </div>
        <details class="advanced">
            <summary>"More of the search"</summary>
            <div class="fields"><These fields=fields(true) /></div>
        </details>
    }
}

/// What may be written as a budget.
const EXAMPLES: &str = "numbers that train, such as 20000, bytes, such as 80KB, or the time of a step, such as 250ms";

/// The budget: a text that is numbers, bytes or a time with a unit, and shares of all to choose from.
#[component]
fn BudgetField() -> impl IntoView {
    let run = use_run();
    let set = Memo::new(move |_| run.config.with(budget_of));
    let size = Memo::new(move |_| run.plan.with(|p| p.as_ref().and_then(|p| p.search)).unwrap_or_default());
    let text = RwSignal::new(written(set.get_untracked()));
    let typo = move || run.typos.with(|t| t.get(BUDGET).map(|problem| problem.next.clone()));
    Effect::new(move |_| {
        let set = set.get();
        if untrack(typo).is_none() && untrack(|| text.with(|t| t.parse::<Budget>())) != Ok(set) {
            text.set(written(set));
        }
    });
    let typed = move |event| {
        let new = event_target_value(&event);
        match new.parse::<Budget>() {
            Ok(budget) => {
                run.typos.update(|t| drop(t.remove(BUDGET)));
                run.config.update(|c| set_budget(c, budget));
            }
            Err(Problem { what, .. }) => {
                let problem = Problem::input(what).at(BUDGET).next(format!("use {EXAMPLES}"));
                run.typos.update(|t| drop(t.insert(BUDGET.into(), problem)));
            }
        }
        text.set(new);
    };
    on_cleanup(move || run.typos.update(|t| drop(t.remove(BUDGET))));
    let below = move || {
        let (set, size) = (set.get(), size.get());
        match size.modules {
            0 => EXAMPLES.to_string(),
            _ if set.unit == BudgetUnit::StepTime => {
                "what a step takes with each module is measured before the search begins".to_string()
            }
            modules => format!(
                "{} numbers, {} as a file; all {} modules have {}, {}",
                units::grouped(set.amount),
                units::bytes(set.amount.saturating_mul(size.number_bytes)),
                units::grouped(modules as u64),
                units::grouped(size.all),
                units::bytes(size.all.saturating_mul(size.number_bytes)),
            ),
        }
    };
    let preset = move |percent: u64| {
        let numbers = Memo::new(move |_| {
            let amount = share(size.get().all, percent).max(size.get().least);
            Budget { amount, unit: BudgetUnit::Numbers }
        });
        let choose = move |_| {
            run.typos.update(|t| drop(t.remove(BUDGET)));
            run.config.update(|c| set_budget(c, numbers.get_untracked()));
            text.set(written(numbers.get_untracked()));
        };
        view! {
            <button
                type="button"
                class="quiet"
                prop:disabled=move || size.get().modules == 0
                aria-pressed=move || (set.get() == numbers.get()).to_string()
                on:click=choose
            >
                {format!("{percent} % of all")}
            </button>
        }
    };
    let id = id_of(BUDGET);
    let hint_id = format!("{id}-hint");
    view! {
        <div class="field budget">
            <label for=id.clone()>"Budget"</label>
            <input
                id=id
                type="text"
                autocomplete="off"
                spellcheck="false"
                prop:value=move || text.get()
                aria-invalid=move || typo().is_some().to_string()
                aria-describedby=hint_id.clone()
                on:input=typed
            />
            <div class="choices" role="group" aria-label="Budgets to choose from">{SHARES.map(preset).collect_view()}</div>
            <small id=hint_id>{move || typo().unwrap_or_else(below)}</small>
        </div>
    }
}
