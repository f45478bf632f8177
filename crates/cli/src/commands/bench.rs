//! `stratune bench`

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use futures::future::LocalBoxFuture;
use rand::RngExt;
use serde_json::{Value, json};
use stratune_data::{Dataset, Sequence};
use stratune_models::{Llama, LlamaConfig};
use stratune_protocol::{DeviceChoice, Event, IstConfig, IstMode, Methods, Problem, RunConfig, draws};
use stratune_runtime::{Stopwatch, memory_in_use, peak_host_memory, reset_peak_host_memory};
use stratune_session::hook_for;
use stratune_store::Checkpoint;
use stratune_train::{Host, Identity, Trainer};

use crate::arguments::MethodFlags;
use crate::open;
use crate::peaks::Peaks;
use crate::work::{Step, Work};

/// Measure speed and memory on random weights.
#[derive(Args)]
pub struct Bench {
    /// config.json of the model's geometry
    #[arg(long)]
    geometry: PathBuf,
    /// Rows in a batch
    #[arg(long, default_value_t = 2)]
    batch: usize,
    /// Tokens in a row
    #[arg(long, default_value_t = 128)]
    seq: usize,
    #[command(flatten)]
    method: MethodFlags,
    /// Also measure these modes, beside `all`, and give ratios; `--ist` alone is practical
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "practical", value_delimiter = ',', value_name = "MODES")]
    ist: Vec<IstMode>,
    /// Top blocks that keep their graphs; `all` blocks: the whole backward graph is held, as other trainers do
    #[arg(long, default_value_t = 0)]
    keep_graphs: usize,
    /// Steps that are measured, after two that are not
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

/// What the steps of one mode took.
struct Measured {
    mode: IstMode,
    trainer: Trainer,
    seconds: Vec<f64>,
    bytes: Vec<f64>,
    sampled: Vec<usize>,
    depths: Vec<f64>,
    methods: Methods,
}

impl Bench {
    /// Measures, the modes taking turns step by step so that a drift of the machine meets all alike.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let at = self.geometry.display().to_string();
        let geometry: Value = serde_json::from_slice(&open::read(&self.geometry)?)
            .map_err(|e| Problem::input(format!("not JSON: {e}")).at(&at).next("give a config.json"))?;
        let geometry = LlamaConfig::from_json(&geometry, &at)?;
        if self.batch == 0 || self.seq < 2 || self.steps == 0 {
            return Err(Problem::input("--batch and --steps must be 1 or more, --seq 2 or more"));
        }
        if self.seq > geometry.max_position_embeddings {
            let what = format!("--seq {} is beyond the context of {}", self.seq, geometry.max_position_embeddings);
            return Err(Problem::input(what).at(&at).next("use a shorter --seq"));
        }
        let opened = open::device(self.device, json).await?;
        let base = Llama::random(geometry, 0, &opened.device)?;
        let dataset = Rc::new(self.rows(base.config.vocab_size));
        let mut modes = vec![IstMode::All];
        modes.extend(self.ist.iter().filter(|m| **m != IstMode::All));
        let mut all = Vec::new();
        for mode in modes {
            all.push(self.start(mode, &base, &dataset).await?);
        }

        let on_host = opened.info.device == "cpu";
        for step in 0..self.steps + 2 {
            for one in &mut all {
                let held = memory_in_use(&opened.device);
                reset_peak_host_memory();
                let clock = Stopwatch::start();
                let mut host = Quiet::default();
                one.trainer.advance(&mut host).await?;
                let seconds = clock.seconds();
                let peak = if on_host { peak_host_memory() } else { memory_in_use(&opened.device) };
                if step >= 2 {
                    one.seconds.push(seconds);
                    one.bytes.push(peak.saturating_sub(held) as f64);
                    one.sampled.push(host.sampled.len());
                    let lowest = host.sampled.iter().min().copied().unwrap_or(base.config.num_hidden_layers);
                    one.depths.push((base.config.num_hidden_layers - lowest) as f64);
                }
            }
        }
        let peaks = Peaks::measure(&opened.device).await?;
        let tokens = (self.batch * self.seq) as f64;
        let model = base.config.report("", base.config.parameters());
        let work = |one: &Measured| {
            let (rows, seq, kept) = (self.batch, self.seq, self.keep_graphs.min(model.layers));
            let depth = mean(&one.depths);
            Work::of(&model, &one.methods, Step { rows, seq, depth, kept })
        };
        let reports: Vec<Value> = all.iter().map(|one| one.report(tokens, &all[0], work(one), peaks)).collect();
        if json {
            reports.iter().for_each(|r| println!("{r}"));
        } else {
            println!(
                "peaks measured: {:.1} GFLOP/s in products, {:.1} GB/s in copies",
                peaks.flops / 1e9,
                peaks.bytes / 1e9
            );
            println!(
                "mode        tokens/s   step ms (mean)   GFLOP   of peak   layers   depth   step MiB average   peak   time ×   average ×   peak ×"
            );
            all.iter().zip(&reports).for_each(|(one, r)| one.print(r));
        }
        Ok(())
    }

    fn rows(&self, vocabulary: usize) -> Dataset {
        let row = |i: usize| {
            let mut rng = draws(0, "bench", [i as u64, 0]);
            let tokens = (0..self.seq).map(|_| rng.random_range(0..vocabulary as u32)).collect();
            Sequence { tokens, learned: (0..self.seq).map(|t| t > 0).collect() }
        };
        let train: Vec<_> = (0..self.batch.max(16)).map(row).collect();
        Dataset { validation: train.iter().take(16).cloned().collect(), train, ..Dataset::default() }
    }

    async fn start(&self, mode: IstMode, base: &Llama, dataset: &Rc<Dataset>) -> Result<Measured, Problem> {
        let mut config = RunConfig { ist: IstConfig::preset(mode), ..RunConfig::default() };
        self.method.clone().apply(&mut config.method, &base.config.report("", base.config.parameters()))?;
        config.train.batch_size = self.batch;
        config.train.steps = self.steps + 2;
        // As many rows as were asked for.
        config.train.packing = false;
        (config.train.keep_graphs, config.train.graph_memory) = (self.keep_graphs, 0);
        config.validate()?;
        let mut model = base.clone();
        model.attach(&config.method, 0).await?;
        let hook = hook_for(&config, model.layers.len());
        let methods = config.method.clone();
        let trainer = Trainer::new(config, model, dataset.clone(), hook, Identity::default())?;
        let (seconds, bytes, sampled, depths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Measured { mode, trainer, seconds, bytes, sampled, depths, methods })
    }
}

impl Measured {
    /// `tokens_per_second` from the median step, as the peers give it; ratios from means, because the importance loop
    /// comes every tenth step and belongs to the cost.
    fn report(&self, tokens: f64, first: &Self, work: Work, peaks: Peaks) -> Value {
        let median = median(&self.seconds);
        json!({
            "mode": self.mode,
            "tokens_per_second": tokens / median,
            "step_seconds": median,
            "mean_step_seconds": mean(&self.seconds),
            "fastest_step_seconds": self.seconds.iter().copied().fold(f64::MAX, f64::min),
            "slowest_step_seconds": self.seconds.iter().copied().fold(0.0, f64::max),
            "peak_bytes": most(&self.bytes),
            "average_bytes": mean(&self.bytes),
            "step_flops": work.flops,
            "step_bytes": work.bytes,
            "flops_share": work.flops / median / peaks.flops,
            "bytes_share": work.bytes / median / peaks.bytes,
            "peak_flops_per_second": peaks.flops,
            "peak_bytes_per_second": peaks.bytes,
            "depth": mean(&self.depths),
            "layers_trained": mean(&self.sampled.iter().map(|s| *s as f64).collect::<Vec<_>>()),
            "time_ratio": mean(&self.seconds) / mean(&first.seconds),
            "average_bytes_ratio": mean(&self.bytes) / mean(&first.bytes),
            "peak_bytes_ratio": most(&self.bytes) / most(&first.bytes),
        })
    }

    fn print(&self, report: &Value) {
        let of = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:10} {:9.0}   {:14.2}   {:5.2}   {:5.1} %   {:6.2}   {:5.2}   {:16.1}   {:4.1}   {:6.3}   {:9.3}   {:6.3}",
            report["mode"].as_str().unwrap_or(""),
            of("tokens_per_second"),
            1e3 * of("mean_step_seconds"),
            of("step_flops") / 1e9,
            100.0 * of("flops_share"),
            of("layers_trained"),
            of("depth"),
            of("average_bytes") / f64::from(1 << 20),
            of("peak_bytes") / f64::from(1 << 20),
            of("time_ratio"),
            of("average_bytes_ratio"),
            of("peak_bytes_ratio"),
        );
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A host that only counts.
#[derive(Default)]
pub struct Quiet {
    /// Layers that the last step trained.
    pub sampled: Vec<usize>,
}

impl Host for Quiet {
    fn emit(&mut self, event: Event) {
        if let Event::Step(step) = event {
            self.sampled = step.sampled;
        }
    }

    fn keep(&mut self, _: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    fn sample<'a>(&'a mut self, _: &'a Llama, _: usize) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }
}
