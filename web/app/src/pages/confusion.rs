//! Which class held-out rows are of, and which the model says: a picture that is a table.

use leptos::prelude::*;
use stratune_protocol::{Confusion, LabelMetrics};

use crate::parts::ramp;
use crate::state::history::Validated;
use crate::state::labels::folded;
use crate::state::use_run;
use crate::units;

/// Classes that have a row of their own.
const MOST: usize = 12;

/// The classes of the latest validation.
#[component]
pub fn ConfusionPanel() -> impl IntoView {
    let run = use_run();
    // What is measured changes with a validation, not with each step.
    let at = Memo::new(move |_| run.history.with(|h| h.validations.last().map(|v| (v.step, v.loss))));
    let shown = Memo::new(move |_| {
        at.with(|_| ());
        run.history.with_untracked(|h| {
            let latest = folded(classes(h.validations.last()?)?, MOST);
            Some((reading(&h.validations)?, latest))
        })
    });
    view! {
        <section class="panel samples" aria-labelledby="title-confusion" hidden=move || shown.with(Option::is_none)>
            <div class="panel-head">
                <h2 id="title-confusion">"Right and said"</h2>
                <p class="reading">{move || shown.get().map(|(reading, _)| reading)}</p>
            </div>
            <div class="confusion" tabindex="0" role="region" aria-label="Held-out rows by class">
                {move || shown.get().map(|(_, of)| table(of, run.dark.get()))}
            </div>
            <p class="caption">
                "Held-out rows by their class, and by what the model says of them: the stronger the colour, the larger the
                share of the row. On the diagonal it is right."
            </p>
        </section>
    }
}

fn classes(validated: &Validated) -> Option<&Confusion> {
    match validated.labels.as_ref()? {
        LabelMetrics::Classes(of) => Some(of),
        LabelMetrics::Numbers { .. } => None,
    }
}

/// The latest numbers beside the first.
fn reading(all: &[Validated]) -> Option<String> {
    let accuracy = |v: &Validated| classes(v).map(|of| units::percent(of.accuracy()));
    let (first, last) = (all.first()?, all.last()?);
    let now = format!("step {}: {} right", units::grouped(last.step as u64), accuracy(last)?);
    Some(if all.len() > 1 { format!("{now}, {} at the beginning", accuracy(first)?) } else { now })
}

fn table(of: Confusion, dark: bool) -> impl IntoView {
    let head = |label: &String| view! { <th scope="col" title=label.clone()>{label.clone()}</th> };
    let row = |(label, row): (&String, &Vec<u32>)| {
        let all = row.iter().sum::<u32>().max(1);
        let cell = |rows: &u32| {
            let colour = ramp::colour(f64::from(*rows) / f64::from(all), dark);
            let ink = if ramp::is_light(colour) { "#000" } else { "#fff" };
            view! { <td style:background-color=ramp::css(colour) style:color=ink>{units::grouped((*rows).into())}</td> }
        };
        view! {
            <tr>
                <th scope="row" title=label.clone()>{label.clone()}</th>
                {row.iter().map(cell).collect_view()}
            </tr>
        }
    };
    view! {
        <table id="confusion">
            <thead>
                <tr><th scope="col">"is ↓ said →"</th>{of.labels.iter().map(head).collect_view()}</tr>
            </thead>
            <tbody>{of.labels.iter().zip(&of.rows).map(row).collect_view()}</tbody>
        </table>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_beside_the_first() {
        let of = |step, right| {
            let mut of = Confusion::new(vec!["a".into(), "b".into()]);
            of.rows = vec![vec![right, 4 - right], vec![0, 4]];
            Validated { step, loss: 1.0, best: true, labels: Some(LabelMetrics::Classes(of)) }
        };
        assert_eq!(reading(&[]), None);
        assert_eq!(reading(&[of(0, 0)]).as_deref(), Some("step 0: 50 % right"));
        assert_eq!(
            reading(&[of(0, 0), of(1000, 4)]).as_deref(),
            Some("step 1,000: 100 % right, 50 % at the beginning")
        );
        let numbers = Validated { labels: Some(LabelMetrics::Numbers { pearson: 0.5, rmse: 1.0 }), ..of(1, 1) };
        assert_eq!(reading(&[numbers]), None);
    }
}
