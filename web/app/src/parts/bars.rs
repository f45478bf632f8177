//! Shares as bars below each other, each with its name and a figure.

use leptos::prelude::*;

/// Bars shown; the rest is counted.
const MOST: usize = 8;

/// Names, shares of the whole width, and figures.
pub fn bars(rows: Vec<(String, f64, String)>) -> impl IntoView {
    let more = rows.len().saturating_sub(MOST);
    let bar = |(name, share, figure): (String, f64, String)| {
        view! {
            <li>
                <span>{name}</span>
                <b aria-hidden="true"><span style:width=format!("{:.1}%", 100.0 * share)></span></b>
                <span class="figure">{figure}</span>
            </li>
        }
    };
    view! {
        <ul class="shares">
            {rows.into_iter().take(MOST).map(bar).collect_view()}
            {(more > 0).then(|| view! { <li class="caption">{format!("and {more} more")}</li> })}
        </ul>
    }
}
