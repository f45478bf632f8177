//! A text for a model that labels texts, or an image for one that labels images, and what it says of it.

use leptos::prelude::*;

use crate::bridge::files::Picked;
use crate::parts::bars::bars;
use crate::parts::drop_zone::ChooseFiles;
use crate::state::{Run, use_run};
use crate::units;

/// The text, a second one where the data has pairs, or the image; and the labels.
#[component]
pub fn LabelIt() -> impl IntoView {
    let run = use_run();
    let [text, text_pair] = [(); 2].map(|()| RwSignal::new(String::new()));
    let pairs = Memo::new(move |_| {
        run.data.with(|d| d.as_ref().and_then(|d| d.labelled.as_ref()).is_some_and(|of| !of.text_pair.is_empty()))
    });
    let second = move || if pairs.get() { text_pair.get() } else { String::new() };
    let images = Memo::new(move |_| run.reads_images());
    let image = RwSignal::new_local(None::<Picked>);
    let why_not = move || {
        if images.get() {
            return reason(run, image.with(Option::is_none).then_some("Choose an image first"));
        }
        let blank = text.with(|t| t.trim().is_empty()) || pairs.get() && second().trim().is_empty();
        reason(run, blank.then_some("Write a text first"))
    };
    let ask = move |_| {
        if untrack(why_not).is_some() {
            return;
        }
        if let (true, Some(image)) = (images.get_untracked(), image.get_untracked()) {
            run.classify_image(image);
        } else {
            run.classify(text.get_untracked(), untrack(second));
        }
    };
    let written = move |id, name, text: RwSignal<String>| {
        view! {
            <label class="hidden-text" for=id>{name}</label>
            <textarea
                id=id
                rows="2"
                placeholder=name
                prop:value=move || text.get()
                on:input=move |event| text.set(event_target_value(&event))
            ></textarea>
        }
    };
    let said = move || {
        let said = run.said.get();
        match said.labels.first() {
            Some((_, number)) if said.number => view! { <p class="said">{format!("{number:.3}")}</p> }.into_any(),
            _ => {
                let of = |(name, p): (String, f32)| (name, f64::from(p), units::percent(p.into()));
                bars(said.labels.into_iter().map(of).collect()).into_any()
            }
        }
    };
    view! {
        <div class="ask">
            {move || match images.get() {
                true => view! {
                    <ChooseFiles
                        id="image"
                        button="Choose an image"
                        folder=false
                        accept=".png,.jpg,.jpeg"
                        on_files=move |picked| image.set(picked.into_iter().next())
                    />
                    <span id="image-name">{move || image.with(|i| i.as_ref().map(|i| i.path.clone()))}</span>
                }.into_any(),
                false => view! {
                    {written("text", "Text, as in the data", text)}
                    {move || pairs.get().then(|| written("text-pair", "Second text", text_pair))}
                }.into_any(),
            }}
            <button
                type="button"
                id="label-it"
                prop:disabled=move || why_not().is_some()
                title=why_not
                on:click=ask
            >
                "Label it"
            </button>
        </div>
        <div id="labels" aria-live="polite" aria-busy=move || run.said.with(|s| s.asked).to_string()>{said}</div>
    }
}

/// Why nothing can be labelled now.
fn reason(run: Run, blank: Option<&'static str>) -> Option<&'static str> {
    if run.activity.get().runs() {
        Some("The engine is training: stop it, or wait until it is done")
    } else if !run.has_adapter() && !run.labels_as_it_came() {
        Some("Train first, or load an adapter: the model knows no labels yet")
    } else if run.said.with(|s| s.asked) {
        Some("One is being labelled")
    } else {
        blank
    }
}
