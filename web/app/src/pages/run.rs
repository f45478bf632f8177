//! The fourth card: how long and how fast, and the button that starts it.

use leptos::prelude::*;
use stratune_protocol::{OptimiserKind, RunConfig};

use super::forecast::Forecast;
use super::status::outcome;
use crate::parts::card::Card;
use crate::parts::field::{Choice, Field, name_of, put};
use crate::state::activity::Activity;
use crate::state::{Card as Which, Run, use_run};
use crate::units::{self, plural};

/// The fourth card.
#[component]
pub fn RunCard() -> impl IntoView {
    let run = use_run();
    let action = move || {
        view! {
            <button
                type="button"
                class="main"
                id="train"
                prop:disabled=move || !run.can_train()
                aria-describedby="problem"
                on:click=move |_| run.train()
            >
                {move || match run.activity.get() {
                    Activity::Starting | Activity::Training => "Training",
                    Activity::Paused => "Paused",
                    Activity::Idle | Activity::Done => "Train",
                }}
            </button>
        }
    };
    view! {
        <Card which=Which::Run summary=Signal::derive(move || summary(run)) action=action>
            <Fields />
        </Card>
        <Forecast />
        <p class="problem" id="problem" role="status">
            {move || run.problem().map(|p| format!("{} ({}): {}", p.what, p.at, p.next))}
        </p>
    }
}

/// Steps of a run on `rows` training rows.
fn steps(config: &RunConfig, rows: usize) -> usize {
    let t = &config.train;
    let a_step = (t.batch_size * t.accumulation).max(1);
    if t.steps > 0 { t.steps } else { ((f64::from(t.epochs) * rows as f64 / a_step as f64).ceil() as usize).max(1) }
}

fn summary(run: Run) -> String {
    if matches!(run.activity.get(), Activity::Starting | Activity::Training) {
        return "training; it keeps running while this tab is hidden".into();
    }
    // Until its card is opened for the next run.
    if run.activity.get() == Activity::Done && run.open.get() != Some(Which::Run) {
        return outcome(Activity::Done, &run.history.read());
    }
    let config = run.config.get();
    let t = &config.train;
    let rows = run.data.with(|d| d.as_ref().map(|d| d.train_rows));
    let steps = rows.map(|rows| plural(steps(&config, rows), "step", "steps"));
    let length = match (t.steps, steps) {
        (0, Some(steps)) => format!("{} epochs, about {steps}", t.epochs),
        (0, None) => format!("{} epochs", t.epochs),
        (n, _) => plural(n, "step", "steps"),
    };
    format!("{length}, batch {}, learning rate {}", units::grouped(t.batch_size as u64), t.learning_rate)
}

#[component]
fn Fields() -> impl IntoView {
    view! {
        <div class="fields">
            <Field
                id="steps"
                label="Steps"
                placeholder="by epochs"
                hint="empty: as many as the epochs need"
                read=|c| if c.train.steps == 0 { String::new() } else { c.train.steps.to_string() }
                write=|c, text| {
                    if text.trim().is_empty() {
                        c.train.steps = 0;
                        return true;
                    }
                    put(&mut c.train.steps, text)
                }
            />
            <Field
                id="epochs"
                label="Epochs"
                hint="passes over the training rows"
                read=|c| c.train.epochs.to_string()
                write=|c, text| put(&mut c.train.epochs, text)
            />
            <Field
                id="learning-rate"
                label="Learning rate"
                hint="at its peak, such as 0.001"
                read=|c| c.train.learning_rate.to_string()
                write=|c, text| put(&mut c.train.learning_rate, text)
            />
            <Field
                id="batch-size"
                label="Batch size"
                hint="rows at once: more is steadier and takes memory"
                read=|c| c.train.batch_size.to_string()
                write=|c, text| put(&mut c.train.batch_size, text)
            />
        </div>
        <details class="advanced">
            <summary>"Advanced"</summary>
            <div class="fields">
                <Field
                    id="seed"
                    label="Seed"
                    hint="the same seed repeats the run"
                    read=|c| c.train.seed.to_string()
                    write=|c, text| put(&mut c.train.seed, text)
                />
                <Field
                    id="eval-every"
                    label="Steps between validations"
                    hint="0: only at the end"
                    read=|c| c.train.eval_every.to_string()
                    write=|c, text| put(&mut c.train.eval_every, text)
                />
                <Field
                    id="checkpoint-every"
                    label="Steps between checkpoints"
                    hint="a reload loses no more than these; 0: only at the end"
                    read=|c| c.train.checkpoint_every.to_string()
                    write=|c, text| put(&mut c.train.checkpoint_every, text)
                />
                <Field
                    id="graph-memory"
                    label="Memory for graphs, MiB"
                    hint="more is faster; changes no result"
                    read=|c| c.train.graph_memory.to_string()
                    write=|c, text| put(&mut c.train.graph_memory, text)
                />
                <Field
                    id="accumulation"
                    label="Batches added up to a step"
                    read=|c| c.train.accumulation.to_string()
                    write=|c, text| put(&mut c.train.accumulation, text)
                />
                <Schedule />
                <Optimiser />
                <Field
                    id="warmup-steps"
                    label="Warm-up steps"
                    read=|c| c.train.warmup_steps.to_string()
                    write=|c, text| put(&mut c.train.warmup_steps, text)
                />
                <Field
                    id="clip-norm"
                    label="Largest gradient norm"
                    hint="0: never clipped"
                    read=|c| c.train.clip_norm.to_string()
                    write=|c, text| put(&mut c.train.clip_norm, text)
                />
                <Field
                    id="weight-decay"
                    label="Weight decay"
                    read=|c| c.train.weight_decay.to_string()
                    write=|c, text| put(&mut c.train.weight_decay, text)
                />
                <Field
                    id="patience"
                    label="Patience"
                    hint="stop after so many validations without progress; 0: never"
                    read=|c| c.train.patience.to_string()
                    write=|c, text| put(&mut c.train.patience, text)
                />
            </div>
        </details>
    }
}

/// How gradients become steps; MeZO's distance is there while it is chosen.
#[component]
fn Optimiser() -> impl IntoView {
    let run = use_run();
    let options = [("adamw", "AdamW"), ("mezo", "MeZO: no backward pass, little memory, many steps")];
    let mezo = move || run.config.with(|c| c.train.optimiser == OptimiserKind::Mezo);
    view! {
        <Choice
            id="optimiser"
            label="Optimiser"
            options=options.map(|(value, name)| (value.to_string(), name.to_string())).to_vec()
            read=|c| name_of(c.train.optimiser)
            write=|c, text| put(&mut c.train.optimiser, text)
        />
        <Show when=mezo>
            <Field
                id="perturbation"
                label="Perturbation"
                hint="how far either side of the parameters the loss is taken"
                read=|c| c.train.perturbation.to_string()
                write=|c, text| put(&mut c.train.perturbation, text)
            />
        </Show>
    }
}

#[component]
fn Schedule() -> impl IntoView {
    let options =
        [("cosine", "half a cosine to zero"), ("linear", "a straight line to zero"), ("constant", "constant")];
    view! {
        <Choice
            id="schedule"
            label="Learning rate falls along"
            options=options.map(|(value, name)| (value.to_string(), name.to_string())).to_vec()
            read=|c| name_of(c.train.schedule)
            write=|c, text| put(&mut c.train.schedule, text)
        />
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_run() {
        let mut config = RunConfig::default();
        assert_eq!(steps(&config, 270), 102);
        assert_eq!(steps(&config, 0), 1);
        config.train.accumulation = 2;
        assert_eq!(steps(&config, 270), 51);
        config.train.steps = 20;
        assert_eq!(steps(&config, 270), 20);
    }
}
