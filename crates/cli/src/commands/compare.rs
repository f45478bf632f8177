//! `stratune compare`

use std::rc::Rc;

use clap::Args;
use serde_json::{Value, json};
use stratune_data::Dataset;
use stratune_peft::{MethodKind, MethodNames, MethodPreset, Methods};
use stratune_protocol::Problem;
use stratune_runtime::{Stopwatch, memory_in_use, peak_host_memory, reset_peak_host_memory};
use stratune_session::{Base, trainer};
use stratune_train::{NoOutput, RunConfig, Trainer};

use crate::arguments::{RunFlags, choose};
use crate::report;
use crate::trial::Trial;

/// Train many methods on the same rows, and say what each costs and how well it does.
#[derive(Args)]
pub struct Compare {
    /// Methods and combinations; all if none is named. The first is what time and memory are relative to
    #[arg(long, num_args = 1.., value_name = "METHOD", value_parser = choose::<MethodNames>)]
    methods: Vec<MethodNames>,
    /// Rows that no method trains on
    #[arg(long, default_value = "example-held-out")]
    held_out: String,
    /// Runs of each method, with the seeds 0, 1, …
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    #[command(flatten)]
    run: RunFlags,
}

/// A method's runs.
struct Entry {
    name: String,
    methods: Methods,
    trainable: u64,
    seconds: Vec<f64>,
    peaks: Vec<f64>,
    losses: Vec<f64>,
}

impl Compare {
    /// Trains and prints the table, or JSON lines. The methods take turns step by step, so that a drift of the machine
    /// meets all alike.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let mut config = self.run.to_config(json).await?;
        if config.method != Methods::default() {
            return Err(Problem::input("every method is compared at its usual settings")
                .at("--method")
                .next("name the methods with --methods, and leave their settings out"));
        }
        let trial = Trial::open(&mut config, self.run.device, &self.held_out, json).await?;
        let Trial { opened, base, eval_set, before, .. } = &trial;
        let mut entries = self.entries(base);
        let on_host = opened.info.device == "cpu";
        for seed in 0..self.seeds {
            config.train.seed = seed;
            let dataset = trial.dataset(&config)?;
            let mut trainers = Vec::new();
            for entry in &entries {
                trainers.push(start(&config, entry, base, &dataset).await?);
            }
            let steps = trainers.iter().map(|t| t.progress().1).max().unwrap_or(0);
            for step in 0..steps {
                for (trainer, entry) in trainers.iter_mut().zip(&mut entries) {
                    let held = memory_in_use(&opened.device);
                    reset_peak_host_memory();
                    let clock = Stopwatch::start();
                    trainer.advance(&mut NoOutput::default()).await?;
                    let peak = if on_host { peak_host_memory() } else { memory_in_use(&opened.device) };
                    // The first steps pay for what is made once.
                    if step > 0 {
                        entry.seconds.push(clock.seconds());
                        entry.peaks.push(peak.saturating_sub(held) as f64);
                    }
                }
                if !json {
                    report::progress(&format!("seed {seed}"), step + 1, steps);
                }
            }
            for (trainer, entry) in trainers.iter_mut().zip(&mut entries) {
                // What serves is measured, not what trained.
                trainer.model.finalize(&entry.methods).await?;
                entry.losses.push(eval_set.loss(&trainer.model, (&config.train).into()).await?);
            }
        }
        print(&entries, *before, json);
        Ok(())
    }

    fn entries(&self, base: &Base) -> Vec<Entry> {
        let model = base.report();
        let all = || {
            let kinds = MethodKind::ALL.into_iter().map(|kind| (kind.name().to_string(), kind.into()));
            let presets = MethodPreset::ALL.into_iter().map(|p| (p.name().to_string(), p.methods(&model)));
            kinds.chain(presets).collect::<Vec<_>>()
        };
        let named = || self.methods.iter().map(|m| (m.title(), m.methods(&model))).collect();
        let listed: Vec<(String, Methods)> = if self.methods.is_empty() { all() } else { named() };
        let entry = |(name, methods): (String, Methods)| Entry {
            trainable: methods.trainable(&model),
            name,
            methods,
            seconds: Vec::new(),
            peaks: Vec::new(),
            losses: Vec::new(),
        };
        listed.into_iter().map(entry).collect()
    }
}

/// A method's run. Methods of few numbers, and those that add positions, learn at larger rates; full tuning at a smaller.
async fn start(config: &RunConfig, entry: &Entry, base: &Base, dataset: &Rc<Dataset>) -> Result<Trainer, Problem> {
    let mut config = config.clone();
    config.method = entry.methods.clone();
    config.train.learning_rate *= entry.methods.iter().map(|m| m.kind.method().usual_rate).fold(f64::MAX, f64::min);
    let mut trainer = trainer(config, base, dataset.clone(), None).await?;
    trainer.prepare(&mut NoOutput::default()).await?;
    Ok(trainer)
}

fn print(entries: &[Entry], before: f64, json: bool) {
    let Some(first) = entries.first() else { return };
    if !json {
        println!("| method | trainable | step time × | peak memory × | held-out loss (before: {before:.3}) |");
        println!("|---|--:|--:|--:|--:|");
    }
    for entry in entries {
        let line = entry.report(first);
        if json {
            println!("{line}");
        } else {
            println!(
                "| `{}` | {} | {:.2} | {:.2} | {:.3} ± {:.3} |",
                entry.name,
                entry.trainable,
                line["time_ratio"].as_f64().unwrap_or(f64::NAN),
                line["peak_bytes_ratio"].as_f64().unwrap_or(f64::NAN),
                line["held_out_loss"].as_f64().unwrap_or(f64::NAN),
                line["held_out_loss_deviation"].as_f64().unwrap_or(f64::NAN),
            );
        }
    }
}

impl Entry {
    fn report(&self, first: &Self) -> Value {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let loss = mean(&self.losses);
        let squares: f64 = self.losses.iter().map(|l| (l - loss).powi(2)).sum();
        let deviation = (squares / self.losses.len().saturating_sub(1).max(1) as f64).sqrt();
        json!({
            "methods": self.methods,
            "trainable": self.trainable,
            "step_seconds": mean(&self.seconds),
            "time_ratio": mean(&self.seconds) / mean(&first.seconds),
            "peak_bytes": most(&self.peaks),
            "peak_bytes_ratio": most(&self.peaks) / most(&first.peaks),
            "held_out_loss": loss,
            "held_out_loss_deviation": deviation,
            "losses": self.losses,
        })
    }
}
