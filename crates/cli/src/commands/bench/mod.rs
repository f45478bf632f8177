//! `stratune bench`

mod growth;
mod long_run;
mod measured;
mod peaks;
mod profile;
mod series;
mod traffic;
mod work;

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use rand::RngExt;
use serde_json::{Value, json};
use stratune_data::{Dataset, Label, Sequence, Target};
use stratune_models::{Model, ModelConfig};

use crate::open;
use stratune_protocol::{BaseDtype, ComputeDtype, DeviceChoice, IstConfig, IstMode, Problem, draws};
use stratune_runtime::Opened;
use stratune_session::{hooks_for, test_compute};
use stratune_train::{Classification, Identity, NextToken, Objective, RunConfig, Trainer};

use growth::{Growth, Length};
use measured::Measured;
use peaks::Peaks;
use series::{least, median};
use traffic::{StepTraffic, Traffic};
use work::{Step, Work};

use crate::arguments::choose;
use crate::method_flags::MethodFlags;

/// Steps that are not measured: the first ones prepare kernels and memory.
const WARM_UP: usize = 2;

/// Measure speed and memory on random weights.
#[derive(Args)]
pub struct Bench {
    /// config.json of the model's geometry
    #[arg(long)]
    geometry: PathBuf,
    /// Rows in a batch
    #[arg(long, default_value_t = 2)]
    batch: usize,
    /// Tokens in a row; of several lengths, such as 512,1024, a table says how the cost of a token grows
    #[arg(long, value_delimiter = ',', default_value = "128")]
    seq: Vec<usize>,
    #[command(flatten)]
    method: MethodFlags,
    /// Also measure these modes, beside `all`, and give ratios; `--ist` alone is practical
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "practical", value_delimiter = ',', value_name = "MODES")]
    ist: Vec<IstMode>,
    /// Top blocks that keep their graphs; `all` blocks: the whole backward graph is held, as other trainers do
    #[arg(long, default_value_t = 0)]
    keep_graphs: usize,
    /// Steps that are measured, after two that are not; of 50 or more the last tenth is set beside the first
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Also say what the time of a step is spent on
    #[arg(long)]
    profile: bool,
    /// What the frozen matrices are kept as: f32, f16, int8 or int4
    #[arg(long, default_value = "f32", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// What products multiply in: f32, or f16 or bf16 where the device has them
    #[arg(long, default_value = "f32", value_parser = choose::<ComputeDtype>)]
    compute_dtype: ComputeDtype,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

impl Bench {
    /// Measures modes beside each other, or lengths one after the other.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let geometry = self.geometry()?;
        let opened = open::device(self.device, json).await?;
        test_compute(&opened, self.compute_dtype).await?;
        let base = Model::random_as(geometry, opened.info.weight_storage(self.base_dtype), 0, &opened.device)?;
        match self.seq[..] {
            [seq] => self.modes(seq, &base, &opened, json).await,
            _ => self.lengths(&base, &opened, json).await,
        }
    }

    /// Reads the geometry and refuses what cannot be measured.
    fn geometry(&self) -> Result<ModelConfig, Problem> {
        let at = self.geometry.display().to_string();
        let geometry: Value = serde_json::from_slice(&open::read(&self.geometry)?)
            .map_err(|e| Problem::input(format!("not JSON: {e}")).at(&at).next("give a config.json"))?;
        let geometry = ModelConfig::from_json(&geometry, &at)?;
        if self.batch == 0 || self.steps == 0 || self.seq.iter().any(|seq| *seq < 2) {
            return Err(Problem::input("--batch and --steps must be 1 or more, --seq 2 or more"));
        }
        if let Some(seq) = self.seq.iter().find(|seq| **seq > geometry.context()) {
            let what = format!("--seq {seq} is beyond the context of {}", geometry.context());
            return Err(Problem::input(what).at(&at).next("use a shorter --seq"));
        }
        if self.seq.len() > 1 && (self.profile || !self.ist.is_empty()) {
            return Err(Problem::input("--ist and --profile look at one length").at("--seq").next("give one length"));
        }
        Ok(geometry)
    }

    /// The modes take turns step by step, so that a drift of the machine meets all alike.
    async fn modes(&self, seq: usize, base: &Model, opened: &Opened, json: bool) -> Result<(), Problem> {
        let mut modes = vec![IstMode::All];
        modes.extend(self.ist.iter().filter(|m| **m != IstMode::All));
        let mut all = Vec::new();
        for mode in modes {
            all.push(self.start(mode, seq, base).await?);
        }
        for one in &mut all {
            for _ in 0..WARM_UP {
                one.step().await?;
            }
        }
        for _ in 0..self.steps {
            for one in &mut all {
                one.measure(opened).await?;
            }
        }
        let on_host = opened.info.device == "cpu";
        if !on_host {
            all[0].traffic = Some(self.traffic(&mut all[0], seq, base, opened).await?);
        }
        let shares = if self.profile { profile::profile(&mut all[0], on_host).await? } else { Vec::new() };
        let peaks = Peaks::measure(&opened.device).await?;
        let tokens = (self.batch * seq) as f64;
        let report = |one: &Measured| one.report(tokens, &all[0], self.work(one, seq, base), peaks);
        let mut reports: Vec<Value> = all.iter().map(report).collect();
        if self.profile {
            reports[0]["profile"] = json!(shares);
        }
        if json {
            reports.iter().for_each(|r| println!("{r}"));
            return Ok(());
        }
        println!(
            "peaks measured: {:.1} GFLOP/s in products of {}, {:.1} GB/s in copies",
            peaks.flops / 1e9,
            self.compute_dtype,
            peaks.bytes / 1e9
        );
        println!(
            "mode        tokens/s   step ms (mean)   GFLOP   of peak   layers   depth   step MiB average   peak   time ×   average ×   peak ×"
        );
        all.iter().zip(&reports).for_each(|(one, r)| one.print(r));
        for (one, report) in all.iter().zip(&reports) {
            let mode = report["mode"].as_str().unwrap_or("");
            println!("{mode}: {}", one.whole_memory());
            if let Some(long) = one.long_run() {
                println!("{mode}: {long}");
            }
            if let Some(traffic) = &one.traffic {
                println!("{mode}: {traffic}");
            }
        }
        if self.profile {
            profile::print(&shares, on_host);
        }
        Ok(())
    }

    /// The lengths one after the other, each with a trainer of its own.
    async fn lengths(&self, base: &Model, opened: &Opened, json: bool) -> Result<(), Problem> {
        let mut lengths = Vec::new();
        for seq in self.seq.iter().copied() {
            // What a shorter length has left in a pool is not this one's.
            opened.device.memory_cleanup();
            let mut one = self.start(IstMode::All, seq, base).await?;
            for _ in 0..WARM_UP {
                one.step().await?;
            }
            for _ in 0..self.steps {
                one.measure(opened).await?;
            }
            lengths.push(Length {
                seq,
                tokens: self.batch * seq,
                step_seconds: median(&one.seconds),
                step_flops: self.work(&one, seq, base).flops,
                // All steps are alike. What one of them took more is a thread's own room for products, made once: a
                // thread may come to its first product late.
                peak_bytes: least(&one.bytes),
            });
        }
        let rows = Growth::of(&lengths);
        if json {
            rows.iter().for_each(|row| println!("{}", json!(row)));
        } else {
            println!("{}", Growth::HEAD);
            rows.iter().for_each(Growth::print);
        }
        Ok(())
    }

    /// What one more step asks of a GPU; and models of one and of two blocks, for what a block adds.
    async fn traffic(
        &self,
        one: &mut Measured,
        seq: usize,
        base: &Model,
        opened: &Opened,
    ) -> Result<StepTraffic, Problem> {
        let wgpu = opened.info.device == "wgpu";
        let step = Traffic::of(wgpu, one.step()).await?;
        let mut dispatches = Vec::new();
        for layers in [1, 2] {
            let geometry = base.config.changed([("num_hidden_layers", layers.into())])?;
            let base = Model::random_as(geometry, opened.info.weight_storage(self.base_dtype), 0, &opened.device)?;
            let mut shallow = self.start(IstMode::All, seq, &base).await?;
            for _ in 0..WARM_UP {
                shallow.step().await?;
            }
            dispatches.push(Traffic::of(wgpu, shallow.step()).await?.dispatches);
        }
        Ok(StepTraffic { step, dispatches_a_block: dispatches[1].saturating_sub(dispatches[0]) })
    }

    fn work(&self, one: &Measured, seq: usize, base: &Model) -> Work {
        let model = base.config.report("", base.config.parameters());
        let kept = self.keep_graphs.min(model.layers);
        let has_head = !base.config.is_encoder();
        let step = Step { rows: self.batch, seq, depth: one.depth(), kept, has_head };
        Work::of(&model, self.base_dtype, &one.methods, step)
    }

    /// Rows of random tokens; those of an encoder have a label each, and each other row the same one.
    fn rows(&self, seq: usize, geometry: &ModelConfig) -> Dataset {
        let is_labelled = geometry.is_encoder();
        let row = |i: usize| {
            let mut rng = draws(0, "bench", [i as u64, 0]);
            let tokens = (0..seq).map(|_| rng.random_range(0..geometry.vocab_size as u32)).collect();
            let loss_mask = (0..seq).map(|t| t > 0 && !is_labelled).collect();
            let label = is_labelled.then_some(Label { at: 0, target: Target::Class((i % 2) as u32) });
            Sequence { tokens, loss_mask, label, ..Sequence::default() }
        };
        let train: Vec<_> = (0..self.batch.max(16)).map(row).collect();
        Dataset { importance: train.iter().take(16).cloned().collect(), train, ..Dataset::default() }
    }

    async fn start(&self, mode: IstMode, seq: usize, base: &Model) -> Result<Measured, Problem> {
        let mut config = RunConfig {
            ist: IstConfig::preset(mode),
            base_dtype: self.base_dtype,
            compute_dtype: self.compute_dtype,
            ..RunConfig::default()
        };
        self.method.clone().apply(&mut config.method, &base.config.report("", base.config.parameters()))?;
        config.train.batch_size = self.batch;
        // One more is counted, and some are looked at.
        config.train.steps = WARM_UP + self.steps + 1 + profile::STEPS;
        // As many rows as were asked for.
        config.train.packing = false;
        (config.train.keep_graphs, config.train.graph_memory) = (self.keep_graphs, 0);
        config.validate()?;
        let (mut model, objective): (Model, Rc<dyn Objective>) = match base.config.is_encoder() {
            true => (base.with_labels(&["0", "1"].map(String::from), false, 0)?, Rc::new(Classification::default())),
            false => (base.clone(), Rc::new(NextToken)),
        };
        model.attach(&config.method, 0).await?;
        let hooks = hooks_for(&config, model.layers.len());
        let methods = config.method.clone();
        let dataset = Rc::new(self.rows(seq, &base.config));
        let trainer = Trainer::new(config, model, dataset, hooks, Identity::default())?.with_objective(objective);
        Ok(Measured::new(mode, methods, trainer))
    }
}
