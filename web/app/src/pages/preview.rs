//! The data as the model sees it: rows in tokens, and how long the rows are.

use leptos::prelude::*;
use stratune_protocol::{PreviewRow, PreviewToken};

use crate::units::plural;

/// Rows shown.
const ROWS: usize = 4;

/// The first rows; the labels are highlighted.
#[component]
pub fn Preview(rows: Vec<PreviewRow>) -> impl IntoView {
    let is_labelled = rows.iter().any(|row| !row.label.is_empty());
    let row = |(i, row): (usize, PreviewRow)| {
        view! {
            <tr>
                <th scope="row">{i + 1}</th>
                <td>
                    {row.tokens.into_iter().map(token).collect_view()}
                    {(!row.label.is_empty()).then(|| view! { <mark class="label">{row.label}</mark> })}
                    {(!row.raw.is_empty()).then(|| view! {
                        <details><summary>"as in the file"</summary>{row.raw}</details>
                    })}
                </td>
            </tr>
        }
    };
    (!rows.is_empty()).then(|| {
        view! {
            <div class="preview" tabindex="0" role="region" aria-label="First rows as tokens">
                <table>
                    <thead class="hidden-text"><tr><th scope="col">"Row"</th><th scope="col">"Tokens"</th></tr></thead>
                    <tbody>{rows.into_iter().take(ROWS).enumerate().map(row).collect_view()}</tbody>
                </table>
            </div>
            <p class="caption">
                "Every piece is a token. The model reads the whole row and learns "
                {if is_labelled { "the label, which is " } else { "to write the part that is " }}
                <mark>"highlighted"</mark> "."
            </p>
        }
    })
}

/// The first images, by their files, with their labels.
#[component]
pub fn Images(rows: Vec<PreviewRow>) -> impl IntoView {
    let row = |(i, row): (usize, PreviewRow)| {
        view! {
            <tr>
                <th scope="row">{i + 1}</th>
                <td>{row.raw}" "<mark class="label">{row.label}</mark></td>
            </tr>
        }
    };
    view! {
        <div class="preview" tabindex="0" role="region" aria-label="First images">
            <table>
                <thead class="hidden-text"><tr><th scope="col">"Row"</th><th scope="col">"Image"</th></tr></thead>
                <tbody>{rows.into_iter().take(ROWS).enumerate().map(row).collect_view()}</tbody>
            </table>
        </div>
        <p class="caption">
            "The model reads the image and learns its label, the name of its folder, which is " <mark>"highlighted"</mark> "."
        </p>
    }
}

fn token(token: PreviewToken) -> AnyView {
    // A line break is shown where it is, and still breaks the line.
    let text = token.text.replace('\n', "↵\n");
    if token.is_label { view! { <mark>{text}</mark> }.into_any() } else { view! { <span>{text}</span> }.into_any() }
}

/// How many rows have which length, and where they are cut.
#[component]
pub fn Lengths(lengths: Vec<(usize, usize)>, limit: usize, truncated: usize) -> impl IntoView {
    let most = lengths.iter().map(|l| l.1).max().unwrap_or(0);
    if most == 0 {
        return None;
    }
    let longest = lengths.last().map_or(0, |l| l.0);
    let label = format!("Rows by length, up to {longest} tokens; {} cut at {limit}.", plural(truncated, "row", "rows"));
    let bar = |(bound, rows): (usize, usize)| {
        let height = format!("{:.1}%", 100.0 * rows as f64 / most as f64);
        let title = format!("up to {bound} tokens: {}", plural(rows, "row", "rows"));
        view! { <span class:cut={bound > limit} title=title style:height=height></span> }
    };
    Some(view! {
        <figure class="lengths">
            <div class="bars" role="img" aria-label=label.clone()>{lengths.into_iter().map(bar).collect_view()}</div>
            <figcaption class="caption">{label}</figcaption>
        </figure>
    })
}
