//! `stratune train`

use clap::Args;
use stratune_protocol::{EndReason, Problem};
use stratune_session::adapter_of;
use stratune_store::write_files;

use crate::arguments::RunFlags;
use crate::run_folder::{Done, Plan, RunFolder};
use crate::{interrupt, open};

/// Fine-tune a model; the result is an adapter that Hugging Face PEFT reads.
#[derive(Args)]
pub struct Train {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    folder: RunFolder,
}

impl Train {
    /// Runs, and gives the exit code.
    pub async fn run(self, json: bool) -> Result<u8, Problem> {
        let plan = self.plan(json).await?;
        let config = plan.config.clone();
        let Done { trainer, ended, .. } = self.folder.run(plan, false, json).await?;
        if ended.step == 0 {
            return Ok(interrupt::EXIT_CODE);
        }
        let out = &self.folder.out;
        write_files(out, &adapter_of(&trainer.model, &config).await?, true)?;
        if !json {
            eprintln!("adapter  {}", out.display());
        }
        Ok(if ended.reason == EndReason::Stopped { interrupt::EXIT_CODE } else { 0 })
    }

    /// The run to go on with, or to begin.
    async fn plan(&self, json: bool) -> Result<Plan, Problem> {
        if let Some(plan) = self.folder.resumed(&self.run, json).await? {
            return Ok(plan);
        }
        let replaces = self.folder.replaces(&["adapter_model.safetensors"])?;
        let mut config = self.run.to_config(json).await?;
        open::name_classes(&mut config)?;
        Plan::begin(config, replaces)
    }
}
