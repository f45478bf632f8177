//! LoRA on a model in a folder, from a program of one's own; what is trained becomes an adapter folder that PEFT reads.
//!
//! `cargo run --release --package stratune-session --example lora -- MODEL-FOLDER ROWS.jsonl OUT`

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use burn::tensor::Device;
use futures::future::LocalBoxFuture;
use stratune_data::{SourceFile, load};
use stratune_models::Model;
use stratune_peft::MethodConfig;
use stratune_protocol::{BaseDtype, Problem};
use stratune_runtime::{Control, block_on};
use stratune_session::{Base, adapter_of, trainer};
use stratune_store::{Checkpoint, DiskFolder, write_files};
use stratune_train::{Event, RunConfig, TrainerCallback};

/// Where a run speaks to: here to the terminal. It keeps no checkpoint and continues no prompt on the way.
struct Terminal;

impl TrainerCallback for Terminal {
    fn emit(&mut self, event: Event) {
        match event {
            Event::Step(step) => println!("step {:4}  loss {:.4}", step.step, step.loss),
            Event::Validation { step, loss, .. } => println!("step {step:4}  held-out loss {loss:.4}"),
            _ => {}
        }
    }

    fn save_checkpoint(&mut self, _: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    fn sample<'a>(&'a mut self, _: &'a Model, _: usize, _: f64) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }
}

async fn tune(model: &str, rows: &str, out: &str) -> Result<(), Problem> {
    let device = Device::flex();
    let base = Base::load(Rc::new(DiskFolder::new(model)?), model, BaseDtype::F32.into(), &device, &mut |_| {}).await?;

    let mut config = RunConfig { model: model.into(), ..RunConfig::default() };
    config.method = MethodConfig { rank: Some(8), alpha: Some(16.0), ..MethodConfig::default() }.into();
    config.train.epochs = 1.0;

    let bytes = std::fs::read(rows).map_err(|e| Problem::input(format!("cannot read the rows: {e}")).at(rows))?;
    let files = [SourceFile { name: rows.into(), bytes, held_out: false }];
    let dataset = load(&files, &config.data, &base.tokenizer, base.context(), config.train.seed)?;

    let mut run = trainer(config.clone(), &base, Rc::new(dataset), None).await?;
    run.run(&mut Terminal, &Control::default()).await?;
    write_files(Path::new(out), &adapter_of(&run.model, &config).await?, false)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, rows, out] = &arguments[..] else {
        eprintln!("give a model's folder, a file of rows, and a folder for the adapter");
        return ExitCode::from(2);
    };
    match block_on(tune(model, rows, out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n{}", problem.next);
            ExitCode::from(problem.kind.exit_code())
        }
    }
}
