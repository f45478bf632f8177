//! `stratune intrinsic`

use std::rc::Rc;

use clap::Args;
use serde_json::json;
use stratune_data::Dataset;
use stratune_peft::{MethodConfig, MethodKind, Methods};
use stratune_protocol::Problem;
use stratune_session::trainer;
use stratune_train::{NoOutput, RunConfig};

use crate::arguments::RunFlags;
use crate::report;
use crate::trial::Trial;

/// Share of full fine-tuning's gain that counts as solved.
const SOLVED: f64 = 0.9;

/// Find how few numbers can steer a model to a task: the intrinsic dimension d₉₀.
#[derive(Args)]
pub struct Intrinsic {
    /// Dimensions to try, rising
    #[arg(long, value_delimiter = ',', default_values_t = [100_usize, 300, 1000, 3000, 10_000])]
    dimensions: Vec<usize>,
    /// Rows that no run trains on
    #[arg(long, default_value = "example-held-out")]
    held_out: String,
    #[command(flatten)]
    run: RunFlags,
}

/// What one run came to.
struct Point {
    kind: MethodKind,
    dimension: Option<usize>,
    loss: f64,
    gain: f64,
}

impl Intrinsic {
    /// Trains everything once, then each dimension with DID and with SAID, and prints the curves. The gain is how far the
    /// held-out loss falls, over how far full fine-tuning makes it fall.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let mut config = self.run.to_config(json).await?;
        if config.method != Methods::default() {
            return Err(Problem::input("the methods are full, did and said, at their usual settings")
                .at("--method")
                .next("leave the method out"));
        }
        if !config.base_dtype.can_train() {
            return Err(Problem::input("the gain is measured by full fine-tuning, which moves the base")
                .at("--base-dtype")
                .next("leave it at file"));
        }
        if self.dimensions.is_empty() || self.dimensions.contains(&0) {
            return Err(Problem::input("a dimension is 0").at("--dimensions").next("use 1 or more"));
        }
        let trial = Trial::open(&mut config, self.run.device, &self.held_out, json).await?;
        let (dataset, before) = (trial.dataset(&config)?, trial.before);

        let full = self.train(MethodKind::Full.into(), &config, &trial, &dataset, json).await?;
        if full >= before {
            let what = format!("full fine-tuning does not learn: the held-out loss goes from {before:.3} to {full:.3}");
            return Err(Problem::input(what).next("give it more steps, or another learning rate"));
        }
        let point =
            |kind, dimension, loss: f64| Point { kind, dimension, loss, gain: (before - loss) / (before - full) };
        let mut points = vec![point(MethodKind::Full, None, full)];
        for kind in [MethodKind::Did, MethodKind::Said] {
            for dimension in &self.dimensions {
                let method = MethodConfig { dimension: Some(*dimension), ..MethodConfig::new(kind) };
                let loss = self.train(method.into(), &config, &trial, &dataset, json).await?;
                points.push(point(kind, Some(*dimension), loss));
            }
        }
        print(&points, before, json);
        Ok(())
    }

    /// The held-out loss after a run with these methods.
    async fn train(
        &self,
        methods: Methods,
        config: &RunConfig,
        trial: &Trial,
        dataset: &Rc<Dataset>,
        json: bool,
    ) -> Result<f64, Problem> {
        let mut config = RunConfig { method: methods, ..config.clone() };
        config.train.learning_rate *= config.method[0].kind.method().usual_rate;
        let name = match config.method[0].dimension {
            None => config.method[0].kind.to_string(),
            Some(dimension) => format!("{} {dimension}", config.method[0].kind),
        };
        let mut trainer = trainer(config.clone(), &trial.base, dataset.clone(), None).await?;
        let steps = trainer.progress().1;
        for step in 0..steps {
            trainer.advance(&mut NoOutput::default()).await?;
            if !json {
                report::progress(&name, step + 1, steps);
            }
        }
        trial.eval_set.loss(&trainer.model, (&config.train).into()).await
    }
}

fn print(points: &[Point], before: f64, json: bool) {
    if !json {
        println!("| method | dimension | held-out loss (before: {before:.3}) | share of full tuning's gain |");
        println!("|---|--:|--:|--:|");
    }
    for Point { kind, dimension, loss, gain } in points {
        if json {
            println!("{}", json!({ "method": kind, "dimension": dimension, "held_out_loss": loss, "gain": gain }));
        } else {
            let dimension = dimension.map_or_else(|| "–".into(), |d| d.to_string());
            println!("| `{kind}` | {dimension} | {loss:.3} | {:.1} % |", 100.0 * gain);
        }
    }
    for kind in [MethodKind::Did, MethodKind::Said] {
        let solved = points.iter().find(|p| p.kind == kind && p.gain >= SOLVED).and_then(|p| p.dimension);
        match (json, solved) {
            (true, solved) => println!("{}", json!({ "method": kind, "d90": solved })),
            (false, Some(d)) => println!("\nd₉₀ of {kind}: at most {d}"),
            (false, None) => println!("\nd₉₀ of {kind}: beyond these dimensions"),
        }
    }
}
