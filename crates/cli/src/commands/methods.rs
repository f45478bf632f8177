//! `stratune methods`

use clap::Args;
use serde_json::{Value, json};
use stratune_models::{Model, Sampling, generate};
use stratune_peft::{Merges, MethodKind, MethodPreset, Methods};
use stratune_protocol::{BaseDtype, DeviceChoice, ModelReport, Problem};
use stratune_runtime::Stopwatch;

use crate::{hub, open};

/// Texts of this many tokens are timed.
const TOKENS: u32 = 64;
/// The fastest of this many runs counts: what disturbs a run only ever slows it.
const RUNS: usize = 15;

/// List every method: what it trains, where, how much of it, and what it costs when the model serves.
#[derive(Args)]
pub struct ListMethods {
    /// The model that numbers are counted and latency is measured on: `starter`, a folder, a GGUF file, or an id on the hub
    #[arg(long, default_value = "starter")]
    model: String,
    /// Leave the latency out, which takes a few seconds to measure
    #[arg(long)]
    no_latency: bool,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
}

/// A method or a combination of methods.
struct Entry {
    name: &'static str,
    title: &'static str,
    methods: Methods,
}

impl ListMethods {
    /// Prints the table, or JSON lines.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let opened = open::device(self.device, json).await?;
        let model = hub::fetched(&self.model, json).await?;
        let base = open::base(&model, BaseDtype::File, &opened, json).await?;
        let report = base.report();
        if !json {
            println!("| method | family | trains | enters | parameters | share | merges | latency | PEFT |");
            println!("|---|---|---|---|--:|--:|---|--:|---|");
        }
        for Entry { name, title, methods } in entries(&report) {
            let mut kinds: Vec<MethodKind> = Vec::new();
            for kind in methods.iter().map(|m| m.kind) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            let merges =
                if methods.iter().any(|m| m.merges() == Merges::No) { Merges::No } else { kinds[0].method().merges };
            let latency = match self.no_latency {
                true => None,
                false => Some(latency(&base.model, &methods).await?),
            };
            let trainable = methods.trainable(&report);
            let share = trainable as f64 / report.parameters.max(1) as f64;
            let all = |of: &dyn Fn(MethodKind) -> &'static str| {
                let mut names: Vec<&str> = kinds.iter().map(|k| of(*k)).collect();
                names.dedup();
                names.join(" + ")
            };
            let family = if kinds.len() > 1 { "hybrid".to_string() } else { all(&|k| k.method().family.name()) };
            let settings: Vec<&str> =
                kinds.iter().flat_map(|k| k.method().settings).map(|has| has.setting.name()).collect();
            let form = kinds[0].method().peft.filter(|_| kinds.len() == 1);
            let peft = form.map_or("–", |form| form.peft_type);
            let line = json!({
                "name": name,
                "title": title,
                "family": family,
                "trains": all(&|k| k.method().trains),
                "enters": all(&|k| k.method().enters.name()),
                "trainable": trainable,
                "share": share,
                "merges": merges.name(),
                "latency": latency,
                "peft_type": peft,
                "settings": settings,
            });
            if json { println!("{line}") } else { print(&line) }
        }
        Ok(())
    }
}

fn entries(model: &ModelReport) -> Vec<Entry> {
    let method = |kind: MethodKind| Entry { name: kind.name(), title: kind.title(), methods: kind.into() };
    let preset = |p: MethodPreset| Entry { name: p.name(), title: p.title(), methods: p.methods(model) };
    MethodKind::ALL.into_iter().map(method).chain(MethodPreset::ALL.into_iter().map(preset)).collect()
}

fn print(line: &Value) {
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_string();
    let latency = line["latency"].as_f64().map_or_else(|| "–".into(), |l| format!("{l:.2} ×"));
    println!(
        "| `{}` {} | {} | {} | {} | {} | {:.3} % | {} | {latency} | {} |",
        text("name"),
        text("title"),
        text("family"),
        text("trains"),
        text("enters"),
        line["trainable"],
        100.0 * line["share"].as_f64().unwrap_or(0.0),
        text("merges"),
        text("peft_type"),
    );
}

/// Time of a prompt with the methods as they serve, finalized and merged where they can be, over the base's. The two
/// take turns, so that a drift of the machine meets both.
async fn latency(base: &Model, methods: &Methods) -> Result<f64, Problem> {
    let mut served = base.clone();
    served.attach(methods, 0).await?;
    served.finalize(methods).await?;
    // What cannot be merged serves beside the model.
    let _ = served.merge();
    let (mut fastest, mut plain) = (f64::MAX, f64::MAX);
    for _ in 0..RUNS {
        fastest = fastest.min(forward(&served).await?);
        plain = plain.min(forward(base).await?);
    }
    Ok(fastest / plain)
}

/// Reads a prompt and says one token.
async fn forward(model: &Model) -> Result<f64, Problem> {
    let prompt: Vec<u32> = (0..TOKENS).map(|t| 7 * t % model.config.vocab_size as u32).collect();
    let clock = Stopwatch::start();
    generate(model, &prompt, 1, &Sampling::GREEDY, |_| Ok(true)).await?;
    Ok(clock.seconds())
}
