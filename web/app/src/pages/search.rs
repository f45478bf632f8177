//! A search as it runs: blocks by modules, how much is left of them, and what became of each.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::KeyboardEvent;

use super::search_charts;
use super::strata::Legend;
use crate::bridge::browser;
use crate::parts::canvas::Canvas;
use crate::parts::ramp;
use crate::state::search::Column;
use crate::state::structure::STRUCTURE_JSON;
use crate::state::use_run;

/// The panel: the grid, the budget line, the history of the chosen module, and what is found.
#[component]
pub fn SearchPanel() -> impl IntoView {
    let run = use_run();
    let chosen = RwSignal::new(None::<usize>);
    let columns = Memo::new(move |_| run.history.with(|h| h.search.columns()));
    let is_blank = move || columns.with(Vec::is_empty);
    let has_front = Memo::new(move |_| run.history.with(|h| !h.search.front.is_empty()));
    Effect::new(move |_| {
        columns.track();
        chosen.set(None);
    });
    let watch = move || {
        run.history.track();
        chosen.track();
    };
    let sentence = move || run.history.with(|h| h.search.sentence());
    let is_found = move || run.structure.with(|s| s.as_ref().is_some_and(|s| s.file.is_empty()));
    let cannot = move || !is_found() || run.activity.get().runs();
    let label = move |what: &'static str| {
        Signal::derive(move || run.history.with(|h| format!("{what}. {}", h.search.sentence())))
    };
    let history = Signal::derive(move || {
        let of = |module| run.history.with(|h| h.search.words(module));
        chosen.get().map_or("History of a module: none is chosen".into(), |module| format!("History of {}", of(module)))
    });
    view! {
        <section class="panel" aria-labelledby="title-search">
            <div class="panel-head">
                <h2 id="title-search">"Search"</h2>
                <p class="reading">"which modules a budget is best spent on"</p>
                <Legend />
            </div>
            <p class="blank" hidden=move || !is_blank()>
                "One square for each module. As the search goes on, those that matter keep their colour, and the others leave."
            </p>
            <div hidden=is_blank>
                <Grid columns chosen />
                <p class="caption">
                    "The stronger the colour, the likelier the module stays; the larger the square, the larger its rank in the \
                     best structure so far. Choose one to see its history."
                </p>
                <div class="search-charts">
                    <div class="small-plot">
                        <Canvas
                            id="budget-chart"
                            label=label("Numbers that are left, and the budget, by steps")
                            watch=watch
                            paint=move |surface| run.history.with(|h| search_charts::budget(surface, h))
                        />
                    </div>
                    <div class="small-plot">
                        <Canvas
                            id="module-history"
                            label=history
                            watch=watch
                            paint=move |surface| run.history.with(|h| search_charts::module(surface, h, chosen.get()))
                        />
                    </div>
                    <div class="small-plot" hidden=move || !has_front.get()>
                        <Canvas
                            id="front-chart"
                            label="Structures measured: loss by numbers that they train"
                            watch=watch
                            paint=move |surface| run.history.with(|h| search_charts::front(surface, &h.search))
                        />
                    </div>
                </div>
                <p class="caption key">
                    <span class="of-course">"all that is left"</span>
                    <span class="of-best">"best structure"</span>
                    <span class="of-budget">"budget"</span>
                    <span class="of-sample">"pruned"</span>
                </p>
                <p class="detail" id="module-words" aria-live="polite">
                    {move || run.history.with(|h| chosen.get().map(|module| h.search.words(module)))}
                </p>
                <p id="search-sentence">{sentence}</p>
                <div class="choices">
                    <button
                        type="button"
                        id="train-structure"
                        prop:disabled=cannot
                        title="makes it the method; Train then trains it from the beginning"
                        on:click=move |_| run.use_structure()
                    >
                        "Train this structure"
                    </button>
                    <button type="button" id="found-structure" prop:disabled=move || !is_found() on:click=move |_| run.download_structure()>
                        {STRUCTURE_JSON}
                    </button>
                </div>
            </div>
        </section>
    }
}

/// Blocks by modules, the output on top. It is a table, so it is its own description.
#[component]
fn Grid(columns: Memo<Vec<Column>>, chosen: RwSignal<Option<usize>>) -> impl IntoView {
    let blocks = Memo::new(move |_| columns.with(|c| c.first().map_or(0, |column| column.modules.len())));
    let first = Memo::new(move |_| {
        columns.with(|c| (0..blocks.get()).rev().find_map(|block| c.iter().find_map(|column| column.modules[block])))
    });
    let walk = move |event: KeyboardEvent| {
        let Some(from) = chosen.get_untracked().or_else(|| first.get_untracked()) else { return };
        if let Some(next) = columns.with_untracked(|c| neighbour(c, from, &event.key())) {
            event.prevent_default();
            chosen.set(Some(next));
            let button = browser::document().get_element_by_id(&format!("module-{next}"));
            if let Some(button) = button.and_then(|button| button.dyn_into::<web_sys::HtmlElement>().ok()) {
                let _ = button.focus();
            }
        }
    };
    let groups = move || {
        let mut groups: Vec<(String, usize)> = Vec::new();
        for Column { method, .. } in columns.get() {
            match groups.last_mut().filter(|(last, _)| *last == method) {
                Some((_, count)) => *count += 1,
                None => groups.push((method, 1)),
            }
        }
        groups
            .into_iter()
            .map(|(method, n)| view! { <th scope="colgroup" colspan=n.to_string()>{method}</th> })
            .collect_view()
    };
    let names = move || {
        let name = |column: Column| view! { <th scope="col"><span>{column.short().to_string()}</span></th> };
        columns.get().into_iter().map(name).collect_view()
    };
    let row = move |block: usize| {
        let cell = move |module: Option<usize>| match module {
            Some(module) => view! { <td><Cell module chosen first /></td> }.into_any(),
            None => view! { <td></td> }.into_any(),
        };
        let cells: Vec<Option<usize>> = columns.with(|c| c.iter().map(|column| column.modules[block]).collect());
        view! {
            <tr>
                <th scope="row">{block + 1}</th>
                {cells.into_iter().map(cell).collect_view()}
            </tr>
        }
    };
    view! {
        <div class="modules">
            <table id="modules" on:keydown=walk>
                <caption class="hidden-text">"Blocks by modules, the output first; the arrow keys walk"</caption>
                <thead>
                    <tr><td></td>{groups}</tr>
                    <tr><td></td>{names}</tr>
                </thead>
                <tbody>{move || (0..blocks.get()).rev().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
}

/// The module beside another in the direction of a key.
fn neighbour(columns: &[Column], from: usize, key: &str) -> Option<usize> {
    let of = |(at, column): (usize, &Column)| Some((at, column.modules.iter().position(|m| *m == Some(from))?));
    let (column, block) = columns.iter().enumerate().find_map(of)?;
    let column = match key {
        "ArrowLeft" => column.checked_sub(1)?,
        "ArrowRight" => column + 1,
        _ => column,
    };
    let block = match key {
        "ArrowUp" => block + 1,
        "ArrowDown" => block.checked_sub(1)?,
        "ArrowLeft" | "ArrowRight" => block,
        _ => return None,
    };
    *columns.get(column)?.modules.get(block)?
}

/// A module: a square as large as its rank, in the colour of its probability.
#[component]
fn Cell(module: usize, chosen: RwSignal<Option<usize>>, first: Memo<Option<usize>>) -> impl IntoView {
    let run = use_run();
    let now = Memo::new(move |_| run.history.with(|h| h.search.now(module)));
    let largest = run.history.with_untracked(|h| h.search.places.get(module).map_or(1, |place| place.largest));
    let words = Memo::new(move |_| run.history.with(|h| h.search.words(module)));
    let is_chosen = move || chosen.get() == Some(module);
    let reached = move || chosen.get().or_else(|| first.get()) == Some(module);
    let side = move || match now.get() {
        (_, 0) => "25%".to_string(),
        (_, size) => format!("{:.0}%", 45.0 + 55.0 * (size as f64 / largest.max(1) as f64).min(1.0)),
    };
    let colour = move || match now.get().0 {
        0.0 => "var(--line)".to_string(),
        chance => ramp::css(ramp::colour(f64::from(chance), run.dark.get())),
    };
    view! {
        <button
            type="button"
            id=format!("module-{module}")
            tabindex=move || if reached() { "0" } else { "-1" }
            aria-label=move || words.get()
            title=move || words.get()
            aria-pressed=move || is_chosen().to_string()
            on:click=move |_| chosen.set(Some(module))
            on:focus=move |_| chosen.set(Some(module))
            on:mouseenter=move |_| chosen.set(Some(module))
        >
            <span style:width=side style:height=side style:background-color=colour></span>
        </button>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrow_keys_walk_over_blocks_and_modules() {
        let column = |name: &str, modules: &[Option<usize>]| Column {
            method: "LoRA".into(),
            name: name.into(),
            modules: modules.to_vec(),
        };
        let columns = [column("q", &[Some(0), Some(1)]), column("v", &[None, Some(2)])];
        for (from, key, to) in [
            (0, "ArrowUp", Some(1)),
            (1, "ArrowDown", Some(0)),
            (1, "ArrowRight", Some(2)),
            (2, "ArrowLeft", Some(1)),
            (0, "ArrowRight", None),
            (2, "ArrowDown", None),
            (0, "ArrowLeft", None),
            (1, "ArrowUp", None),
            (1, "Enter", None),
            (9, "ArrowUp", None),
        ] {
            assert_eq!(neighbour(&columns, from, key), to, "{from} {key}");
        }
    }
}
