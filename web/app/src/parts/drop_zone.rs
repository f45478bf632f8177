//! A place to drop files on, with a button that does the same.

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::DragEvent;

use crate::bridge::files::{self, Picked};

/// A place to drop files or a folder on.
#[component]
pub fn DropZone(
    id: &'static str,
    /// The name of the hidden file field, which the button opens.
    input_id: &'static str,
    /// Whether a folder is wanted.
    #[prop(optional)]
    folder: bool,
    /// Where a folder is wanted and a file will do: the name of another hidden field, and what its button says.
    #[prop(optional)]
    file: Option<(&'static str, &'static str)>,
    /// What the button says.
    button: &'static str,
    /// What stands beside it.
    hint: &'static str,
    on_files: impl Fn(Vec<Picked>) + Copy + 'static,
) -> impl IntoView {
    let over = RwSignal::new(false);
    let input = NodeRef::<html::Input>::new();
    let of_file = NodeRef::<html::Input>::new();
    let chosen = move |input: NodeRef<html::Input>| {
        if let Some(input) = input.get_untracked() {
            let picked = files::from_input(&input);
            if !picked.is_empty() {
                on_files(picked);
            }
        }
    };
    let dropped = move |event: DragEvent| {
        event.prevent_default();
        over.set(false);
        let reading = files::from_drop(&event);
        spawn_local(async move {
            let picked = reading.await;
            if !picked.is_empty() {
                on_files(picked);
            }
        });
    };
    let open = move |input: NodeRef<html::Input>| {
        if let Some(input) = input.get_untracked() {
            input.click();
        }
    };
    input.on_load(move |input| {
        // No property of the HTML standard, yet every browser has it.
        if folder {
            let _ = input.set_attribute("webkitdirectory", "");
        }
    });
    view! {
        <div
            class="drop"
            class:over=move || over.get()
            id=id
            on:dragover=move |event| {
                event.prevent_default();
                over.set(true);
            }
            on:dragleave=move |_| over.set(false)
            on:drop=dropped
        >
            <input node_ref=input id=input_id type="file" multiple hidden tabindex="-1" aria-label=button on:change=move |_| chosen(input) />
            <button type="button" on:click=move |_| open(input)>{button}</button>
            {file.map(|(id, button)| view! {
                <input node_ref=of_file id=id type="file" multiple hidden tabindex="-1" aria-label=button on:change=move |_| chosen(of_file) />
                <button type="button" on:click=move |_| open(of_file)>{button}</button>
            })}
            <span>{hint}</span>
        </div>
    }
}

/// A button that has files chosen, or a folder.
#[component]
pub fn ChooseFiles(
    /// The name of the hidden file field.
    id: &'static str,
    /// What the button says.
    button: &'static str,
    /// Whether a folder is wanted; else it is one file.
    folder: bool,
    /// The kinds of files that are offered; empty: all.
    #[prop(optional)]
    accept: &'static str,
    on_files: impl Fn(Vec<Picked>) + Copy + 'static,
) -> impl IntoView {
    let input = NodeRef::<html::Input>::new();
    let chosen = move |_| {
        let picked = input.get_untracked().map(|input| files::from_input(&input)).unwrap_or_default();
        if !picked.is_empty() {
            on_files(picked);
        }
    };
    input.on_load(move |input| {
        if folder {
            let _ = input.set_attribute("webkitdirectory", "");
        }
    });
    view! {
        <input node_ref=input id=id type="file" accept=accept multiple=folder hidden tabindex="-1" aria-label=button on:change=chosen />
        <button type="button" on:click=move |_| if let Some(input) = input.get_untracked() { input.click() }>
            {button}
        </button>
    }
}
