//! `stratune search`

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use serde_json::Value;
use stratune_peft::STRUCTURE_JSON;
use stratune_protocol::{EndReason, Problem, advice};
use stratune_session::{Conditions, Recorder, Samples, Saving, watched_search};
use stratune_store::{Checkpoint, DiskCheckpoints, write_files};
use stratune_train::{Event, ProgressReporter, RunConfig};

use super::train::{foretell, in_the_way, needs_data, read_data, resumed};
use crate::arguments::RunFlags;
use crate::records::Records;
use crate::report::{self, Bar};
use crate::search_flags::SearchFlags;
use crate::{interrupt, open, out_of_memory};

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
    /// Folder for structure.json, configuration, metrics and checkpoint
    #[arg(long)]
    out: PathBuf,
    /// Go on where the search in --out was interrupted; its configuration holds, but for --device and --compute-dtype
    #[arg(long)]
    resume: bool,
    /// Replace what is in --out, which stays until this search has its first checkpoint
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
}

impl Search {
    /// Searches, and gives the exit code.
    pub async fn run(self, json: bool) -> Result<u8, Problem> {
        let checkpoints = Rc::new(DiskCheckpoints::new(&self.out));
        let (config, checkpoint, replaces) = self.plan(checkpoints.as_ref(), json).await?;
        let control = interrupt::control()?;
        let opened = open::device(config.device, json).await?;
        let base = open::base(&config.model, config.base_dtype, &opened, json).await?;
        let dataset = read_data(&config, &base, json)?;
        let (model, width) = (&base.report(), Some(dataset.report.width));
        let conditions = Conditions { model, device: &opened.info, width };
        foretell(&conditions, &config, json);
        out_of_memory::advise(advice(&conditions.savings(&config)));
        let mut bar = Bar::new();
        let watch =
            ProgressReporter::new(&control, |event| if json { report::event(&event) } else { bar.show(&event) });
        let (mut trainer, found) = watched_search(config.clone(), &base, dataset, checkpoint.as_ref(), &watch).await?;
        drop(watch);

        let step = trainer.progress().0;
        let mut records = match replaces {
            false => Records::open(&self.out, &config, step)?,
            true => Records::beside(&self.out, &config)?,
        };
        let mut emit = |event: &Event| {
            records.write(event);
            if json { report::event(event) } else { bar.show(event) }
        };
        let mut recorder = Recorder {
            emit: &mut emit,
            checkpoints,
            samples: Samples::new(Vec::new(), &base.tokenizer, &base.template),
            log: None,
            beside: Value::Null,
            saving: Saving::Needed,
            once_saved: None,
        };
        let ended = trainer.run(&mut recorder, &control).await;
        let ended = ended.map_err(|problem| conditions.explain(&config, problem))?;
        let stopped = ended.reason == EndReason::Stopped;
        records.finish()?;
        if let Some(structure) = found.structure().filter(|_| ended.step > 0 || !stopped) {
            let path = self.out.join(STRUCTURE_JSON);
            let mut files = vec![(STRUCTURE_JSON.into(), structure.to_json()?.into_bytes())];
            let all = found.structures();
            for (budget, structure) in all.iter().filter(|_| all.len() > 1) {
                files.push((format!("structure-{budget}.json"), structure.to_json()?.into_bytes()));
            }
            write_files(&self.out, &files, true)?;
            if !json {
                eprintln!("\n{}", structure.draw());
                eprintln!("structure  {}: train it by --method {}", path.display(), path.display());
                for (budget, _) in all.iter().filter(|_| all.len() > 1) {
                    eprintln!("           {}", self.out.join(format!("structure-{budget}.json")).display());
                }
            }
        }
        Ok(if stopped { interrupt::EXIT_CODE } else { 0 })
    }

    /// The configuration, the checkpoint to go on from, and whether there is something in the way.
    async fn plan(
        &self,
        checkpoints: &DiskCheckpoints,
        json: bool,
    ) -> Result<(RunConfig, Option<Checkpoint>, bool), Problem> {
        if self.resume {
            let (config, checkpoint) = resumed(checkpoints, &self.out, &self.run, json).await?;
            self.search.check_resumed(&config)?;
            return Ok((config, Some(checkpoint), false));
        }
        let files = ["checkpoint.safetensors", "adapter_model.safetensors", STRUCTURE_JSON];
        let replaces = in_the_way(&self.out, &files, self.overwrite)?;
        let (run, usual) = self.run.clone().or_methods(SPACE)?;
        let mut config = run.to_config(json).await?;
        open::name_classes(&mut config)?;
        let (sized, scaled) = run.gives();
        if usual && !scaled {
            // An update is added as it is, as the paper has it.
            config.method.iter_mut().for_each(|m| m.alpha = m.alpha.and(m.rank).map(|rank| rank as f32));
        }
        self.search.clone().apply(&mut config, sized)?;
        needs_data(&config)?;
        Ok((config, None, replaces))
    }
}
