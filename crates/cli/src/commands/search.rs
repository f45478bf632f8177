//! `stratune search`

use clap::Args;
use stratune_peft::STRUCTURE_JSON;
use stratune_protocol::{EndReason, Problem};
use stratune_store::write_files;

use crate::arguments::RunFlags;
use crate::run_folder::{Done, Plan, RunFolder};
use crate::search_flags::SearchFlags;
use crate::{interrupt, open};

/// What is searched among unless methods are named.
const SPACE: &str = "lora,bitfit,layer_norm";

/// Search for the modules that a budget is best spent on: which, and of what rank. The result is structure.json, for
/// `stratune train --method`.
#[derive(Args)]
pub struct Search {
    #[command(flatten)]
    search: SearchFlags,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    folder: RunFolder,
}

impl Search {
    /// Searches, and gives the exit code.
    pub async fn run(self, json: bool) -> Result<u8, Problem> {
        let plan = self.plan(json).await?;
        let Done { found, ended, .. } = self.folder.run(plan, true, json).await?;
        let (out, stopped) = (&self.folder.out, ended.reason == EndReason::Stopped);
        let found = found.filter(|_| ended.step > 0 || !stopped);
        if let Some((found, structure)) = found.and_then(|found| found.structure().map(|best| (found, best))) {
            let path = out.join(STRUCTURE_JSON);
            let mut files = vec![(STRUCTURE_JSON.into(), structure.to_json()?.into_bytes())];
            let all = found.structures();
            for (budget, structure) in all.iter().filter(|_| all.len() > 1) {
                files.push((format!("structure-{budget}.json"), structure.to_json()?.into_bytes()));
            }
            write_files(out, &files, true)?;
            if !json {
                eprintln!("\n{}", structure.draw());
                eprintln!("structure  {}: train it by --method {}", path.display(), path.display());
                for (budget, _) in all.iter().filter(|_| all.len() > 1) {
                    eprintln!("           {}", out.join(format!("structure-{budget}.json")).display());
                }
            }
        }
        Ok(if stopped { interrupt::EXIT_CODE } else { 0 })
    }

    /// The search to go on with, or to begin.
    async fn plan(&self, json: bool) -> Result<Plan, Problem> {
        if let Some(plan) = self.folder.resumed(&self.run, json).await? {
            self.search.check_resumed(&plan.config)?;
            return Ok(plan);
        }
        let replaces = self.folder.replaces(&["adapter_model.safetensors", STRUCTURE_JSON])?;
        let (run, usual) = self.run.clone().or_methods(SPACE)?;
        let mut config = run.to_config(json).await?;
        open::name_classes(&mut config)?;
        let (sized, scaled) = run.gives();
        if usual && !scaled {
            // An update is added as it is, as the paper has it.
            config.method.iter_mut().for_each(|m| m.alpha = m.alpha.and(m.rank).map(|rank| rank as f32));
        }
        self.search.clone().apply(&mut config, sized)?;
        Plan::begin(config, replaces)
    }
}
