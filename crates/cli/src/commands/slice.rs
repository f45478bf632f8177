//! `stratune slice`

use std::path::PathBuf;

use clap::Args;
use stratune_protocol::{ModelReport, Problem};
use stratune_session::{read_adapter, sliced};
use stratune_store::{DiskFolder, write_files};
use stratune_train::RunConfig;

use crate::open;

/// Cut an adapter that DyLoRA has trained down to a lower rank.
#[derive(Args)]
pub struct Slice {
    /// The adapter's folder
    #[arg(long)]
    adapter: PathBuf,
    /// The rank that is left, at most the adapter's own
    #[arg(long)]
    rank: usize,
    /// Folder for the smaller adapter
    #[arg(long)]
    out: PathBuf,
    /// Replace an adapter in --out
    #[arg(long)]
    overwrite: bool,
}

impl Slice {
    /// Reads, cuts and writes.
    pub async fn run(self) -> Result<(), Problem> {
        let adapter = read_adapter(&DiskFolder::new(&self.adapter)?).await?;
        // The folder of an adapter does not say how it was trained; that of a run does.
        let run = self.adapter.join("run.toml");
        if run.exists() {
            let text = String::from_utf8_lossy(&open::read(&run)?).into_owned();
            let methods = RunConfig::from_toml(&text)?.method;
            if let Some(other) = methods.iter().find(|m| !m.kind.method().nested_ranks) {
                let what = format!("{} has trained this adapter at its own rank alone", other.kind);
                return Err(Problem::input(what)
                    .at(run.display().to_string())
                    .next("train with --method dylora to cut the result, or with --rank for another rank"));
            }
        }
        let cut = sliced(&adapter, self.rank).map_err(|p| p.at("--rank"))?;
        let model = ModelReport { name: cut.base_model.clone().unwrap_or_default(), ..ModelReport::default() };
        let files = cut.write(&model)?;
        write_files(&self.out, &files, self.overwrite)?;
        eprintln!("adapter  {}", self.out.display());
        Ok(())
    }
}
