//! What a run is made of, for another trainer to do the same: its adapter before the first step as PEFT's folder `begin`, and
//! in `batches.jsonl` the rows of each step, tokenised.
//!
//! `cargo run --release --package stratune-session --example batches -- RUN.toml OUT`, whose data are files.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use burn::tensor::Device;
use serde_json::{Value, json};
use stratune_data::{Plan, Sequence, SourceFile, Target};
use stratune_protocol::Problem;
use stratune_runtime::block_on;
use stratune_session::{Base, adapter_of, read_dataset, trainer};
use stratune_store::{DiskFolder, write_files};
use stratune_train::RunConfig;

fn read(path: &str) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|e| Problem::input(format!("cannot be read: {e}")).at(path).next("check the path"))
}

fn row(of: &Sequence) -> Value {
    let label = of.label.map(|label| match label.target {
        Target::Class(class) => json!(class),
        Target::Value(value) => json!(value),
    });
    json!({ "tokens": of.tokens, "type_ids": of.type_ids, "loss_mask": of.loss_mask, "label": label })
}

async fn write(toml: &str, out: &Path) -> Result<(), Problem> {
    let config = RunConfig::from_toml(&String::from_utf8_lossy(&read(toml)?))?;
    let folder = Rc::new(DiskFolder::new(&config.model)?);
    let storage = config.base_dtype.into();
    let base = Base::load(folder, &config.model, storage, &Device::flex(), &mut |_| {}).await?;
    let mut files = Vec::new();
    for name in &config.data.files {
        files.push(SourceFile { name: name.clone(), bytes: read(name)?, held_out: false });
    }
    let room = base.context();
    let dataset = Rc::new(read_dataset(&files, &config, &base, room)?);
    let run = trainer(config.clone(), &base, dataset.clone(), None).await?;
    write_files(&out.join("begin"), &adapter_of(&run.model, &config).await?, true)?;
    let plan = Plan::new(&dataset.train, config.train.batch_size, config.train.seed);
    let mut lines = String::new();
    let steps = match config.train.steps {
        0 => (plan.batches_per_epoch() as f32 * config.train.epochs).ceil() as usize,
        steps => steps,
    };
    for step in 0..steps {
        let rows: Vec<Value> = plan.batch(step as u64).into_iter().map(|i| row(&dataset.train[i])).collect();
        let _ = writeln!(lines, "{}", Value::from(rows));
    }
    let to = out.join("batches.jsonl");
    std::fs::write(&to, lines).map_err(|e| {
        Problem::input(format!("cannot be written: {e}")).at(to.display().to_string()).next("free some space")
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [toml, out] = &arguments[..] else {
        eprintln!("give a run's configuration and a folder");
        return ExitCode::from(2);
    };
    match block_on(write(toml, Path::new(out))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n{}", problem.next);
            ExitCode::from(problem.kind.exit_code())
        }
    }
}
