//! The steps of one trainer, and what they took.

use serde_json::{Value, json};
use stratune_peft::Methods;
use stratune_protocol::{IstMode, Problem};
use stratune_runtime::{
    Opened, Stopwatch, memory_in_use, memory_reserved, peak_host_memory, reset_peak_host_memory, resident_memory,
};
use stratune_train::{NoOutput, Trainer};

use super::long_run::{Held, LongRun};
use super::peaks::Peaks;
use super::series::{mean, median, mib, most};
use super::traffic::StepTraffic;
use super::work::Work;

/// The steps of one trainer.
pub struct Measured {
    /// Which layers train.
    pub mode: IstMode,
    /// What trains them.
    pub methods: Methods,
    /// Seconds of each step.
    pub seconds: Vec<f64>,
    /// Bytes that each step needed beside what was there before it. A GPU tells only what it has reserved, for all that
    /// ran on it so far.
    pub bytes: Vec<f64>,
    /// What a GPU was asked for in one step.
    pub traffic: Option<StepTraffic>,
    /// Most bytes that the device held, the model and what else is loaded included.
    pub device_bytes: u64,
    trainer: Trainer,
    held: Vec<Held>,
    sampled: Vec<f64>,
    depths: Vec<f64>,
}

impl Measured {
    /// Nothing is measured yet.
    pub fn new(mode: IstMode, methods: Methods, trainer: Trainer) -> Self {
        let (seconds, bytes, held, sampled, depths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { mode, methods, seconds, bytes, traffic: None, device_bytes: 0, trainer, held, sampled, depths }
    }

    /// A step that is not measured. Gives the layers that it trained.
    ///
    /// # Errors
    /// The device fails.
    pub async fn step(&mut self) -> Result<Vec<usize>, Problem> {
        let mut callback = NoOutput::default();
        self.trainer.advance(&mut callback).await?;
        Ok(callback.sampled)
    }

    /// A step that is.
    ///
    /// # Errors
    /// The device fails.
    pub async fn measure(&mut self, opened: &Opened) -> Result<(), Problem> {
        let before = memory_in_use(&opened.device);
        reset_peak_host_memory();
        let clock = Stopwatch::start();
        let sampled = self.step().await?;
        self.seconds.push(clock.seconds());
        let on_host = opened.info.device == "cpu";
        let peak = if on_host { peak_host_memory() } else { memory_reserved(&opened.device) };
        self.bytes.push(peak.saturating_sub(before) as f64);
        self.device_bytes = self.device_bytes.max(peak);
        self.held.push(Held { device: memory_reserved(&opened.device), process: resident_memory() });
        self.sampled.push(sampled.len() as f64);
        let layers = self.trainer.model.layers.len();
        self.depths.push((layers - sampled.iter().min().copied().unwrap_or(layers)) as f64);
        Ok(())
    }

    /// Blocks that the backward pass went through, on average.
    pub fn depth(&self) -> f64 {
        mean(&self.depths)
    }

    /// `tokens_per_second` from the median step, as the peers give it; ratios from means, because the importance loop
    /// comes every tenth step and belongs to the cost.
    pub fn report(&self, tokens: f64, first: &Self, work: Work, peaks: Peaks) -> Value {
        let median = median(&self.seconds);
        let mut report = json!({
            "mode": self.mode,
            "tokens_per_second": tokens / median,
            "step_seconds": median,
            "mean_step_seconds": mean(&self.seconds),
            "fastest_step_seconds": self.seconds.iter().copied().fold(f64::MAX, f64::min),
            "slowest_step_seconds": most(&self.seconds),
            "peak_bytes": most(&self.bytes),
            "average_bytes": mean(&self.bytes),
            "device_bytes": self.device_bytes,
            "process_bytes": self.held.iter().filter_map(|held| held.process).max(),
            "step_flops": work.flops,
            "step_bytes": work.bytes,
            "flops_share": work.flops / median / peaks.flops,
            "bytes_share": work.bytes / median / peaks.bytes,
            "peak_flops_per_second": peaks.flops,
            "peak_bytes_per_second": peaks.bytes,
            "depth": self.depth(),
            "layers_trained": mean(&self.sampled),
            "time_ratio": mean(&self.seconds) / mean(&first.seconds),
            "average_bytes_ratio": mean(&self.bytes) / mean(&first.bytes),
            "peak_bytes_ratio": most(&self.bytes) / most(&first.bytes),
        });
        if let Some(long) = self.long_run() {
            report["long_run"] = json!(long);
        }
        if let Some(traffic) = &self.traffic {
            report["traffic"] = json!(traffic);
        }
        report
    }

    /// A sentence about the memory as a whole.
    pub fn whole_memory(&self) -> String {
        let process = self.held.iter().filter_map(|held| held.process).max();
        let process = process.map_or(String::new(), |bytes| format!("; of the process {:.0} MiB", mib(bytes as f64)));
        format!("device memory with the model {:.0} MiB{process}", mib(self.device_bytes as f64))
    }

    /// How the end differs from the beginning.
    pub fn long_run(&self) -> Option<LongRun> {
        LongRun::of(&self.seconds, &self.held)
    }

    /// A row of the table.
    pub fn print(&self, report: &Value) {
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
            mib(of("average_bytes")),
            mib(of("peak_bytes")),
            of("time_ratio"),
            of("average_bytes_ratio"),
            of("peak_bytes_ratio"),
        );
    }
}
