//! `stratune train`

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use serde_json::Value;
use stratune_data::Dataset;
use stratune_protocol::{EndReason, Problem, Verdict, advice};
use stratune_session::{
    Base, Conditions, Recorder, Samples, Saving, adapter_of, prompts, read_dataset, saved_run, set_apart,
    watched_trainer,
};
use stratune_store::{Checkpoint, CheckpointStore, DiskCheckpoints, write_files};
use stratune_train::{Event, ProgressReporter, RunConfig};

use crate::arguments::RunFlags;

use crate::records::Records;
use crate::report::{self, Bar};
use crate::{hub, interrupt, open, out_of_memory};

/// Fine-tune a model; the result is an adapter that Hugging Face PEFT reads.
#[derive(Args)]
pub struct Train {
    #[command(flatten)]
    run: RunFlags,
    /// Folder for adapter, configuration, metrics and checkpoint
    #[arg(long)]
    out: PathBuf,
    /// Go on where the run in --out was interrupted; its configuration holds, but for --device and --compute-dtype
    #[arg(long)]
    resume: bool,
    /// Replace the run in --out, which stays until this one has its first checkpoint
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
}

impl Train {
    /// Runs, and gives the exit code.
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
        let mut trainer = watched_trainer(config.clone(), &base, dataset.clone(), checkpoint.as_ref(), &watch).await?;
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
            samples: Samples::new(prompts(&config, &dataset), &base.tokenizer, &base.template),
            log: None,
            beside: Value::Null,
            saving: Saving::Needed,
            once_saved: None,
        };
        let ended = trainer.run(&mut recorder, &control).await;
        let ended = ended.map_err(|problem| conditions.explain(&config, problem))?;
        if ended.step == 0 {
            return Ok(interrupt::EXIT_CODE);
        }
        records.finish()?;
        let files = adapter_of(&trainer.model, &config).await?;
        write_files(&self.out, &files, true)?;
        if !json {
            eprintln!("adapter  {}", self.out.display());
        }
        Ok(if ended.reason == EndReason::Stopped { interrupt::EXIT_CODE } else { 0 })
    }

    /// The configuration, the checkpoint to go on from, and whether there is a run in the way.
    async fn plan(
        &self,
        checkpoints: &DiskCheckpoints,
        json: bool,
    ) -> Result<(RunConfig, Option<Checkpoint>, bool), Problem> {
        if self.resume {
            let (config, checkpoint) = resumed(checkpoints, &self.out, &self.run, json).await?;
            return Ok((config, Some(checkpoint), false));
        }
        let replaces = in_the_way(&self.out, &["checkpoint.safetensors", "adapter_model.safetensors"], self.overwrite)?;
        let mut config = self.run.to_config(json).await?;
        open::name_classes(&mut config)?;
        needs_data(&config)?;
        Ok((config, None, replaces))
    }
}

/// The configuration and the checkpoint of the run in a folder; the flags say on what it goes on.
pub(super) async fn resumed(
    checkpoints: &DiskCheckpoints,
    out: &Path,
    run: &RunFlags,
    json: bool,
) -> Result<(RunConfig, Checkpoint), Problem> {
    let checkpoint = checkpoints.load().await?.ok_or_else(|| {
        Problem::input("there is no checkpoint to resume from")
            .at(out.display().to_string())
            .next("leave --resume out to start a run")
    })?;
    let mut config = *saved_run(&checkpoint)?.config;
    config.model = hub::fetched(&config.model, json).await?;
    hub::fetch_data(&mut config.data, json).await?;
    config.device = run.device.unwrap_or(config.device);
    config.compute_dtype = run.compute_dtype.unwrap_or(config.compute_dtype);
    Ok((config, checkpoint))
}

/// Whether a folder holds one of these files, which may be replaced.
pub(super) fn in_the_way(out: &Path, files: &[&str], overwrite: bool) -> Result<bool, Problem> {
    let used = files.iter().any(|file| out.join(file).exists());
    if used && !overwrite {
        return Err(Problem::input("the folder holds a run already")
            .at(out.display().to_string())
            .next("use --resume to go on with it, --overwrite to replace it, or another --out"));
    }
    Ok(used)
}

/// Refuses a run without data.
pub(super) fn needs_data(config: &RunConfig) -> Result<(), Problem> {
    match config.data.files.is_empty() {
        true => Err(Problem::input("no data is given").at("--data").next("name a file, or `example`")),
        false => Ok(()),
    }
}

/// Says what the run will need. A forecast may be wrong, so a run that is not said to fit is warned of, not refused.
pub(super) fn foretell(conditions: &Conditions<'_>, config: &RunConfig, json: bool) {
    let memory_report = conditions.memory_report(config);
    let mut text = memory_report.sentence();
    let warns = memory_report.verdict >= Verdict::Tight;
    if warns {
        text = format!("{text}; {}", advice(&memory_report.remedies));
    }
    match json {
        true if warns => report::event(&Event::Notice { text }),
        true => {}
        false => eprintln!("memory   {text}"),
    }
}

/// Reads, templates and tokenises the data, and tells what was cut or left out.
pub(super) fn read_data(config: &RunConfig, base: &Base, json: bool) -> Result<Rc<Dataset>, Problem> {
    let files = open::data(&config.data)?;
    let room = base.context().saturating_sub(config.method.virtual_tokens());
    // An image has as many positions as it has, and the run says what does not go with that.
    if room < 2 && base.images.is_none() {
        let what = format!("{} leaves {room} positions of the context to a row", config.method.title());
        return Err(Problem::input(what).at("method.length").next("use a shorter length"));
    }
    let dataset = read_dataset(&files, config, base, room)?;
    let dataset = set_apart(Rc::new(dataset), config)?;
    if json {
        report::event(&Event::Data(dataset.report.clone()));
        return Ok(dataset);
    }
    let data = &dataset.report;
    let importance = match data.importance_rows {
        0 => String::new(),
        rows => format!("{rows} set apart to learn which layers matter, "),
    };
    eprintln!(
        "data     {} · {} · {} rows to train on, {}{} held out, {} tokens of which {} are labels",
        data.files.join(", "),
        data.format,
        data.train_rows,
        importance,
        data.validation_rows,
        data.tokens,
        data.label_tokens
    );
    if !data.classes.is_empty() {
        let classes: Vec<String> = data.classes.iter().take(8).map(|(name, rows)| format!("{name} {rows}")).collect();
        let more = data.classes.len() - classes.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        eprintln!("classes  {}{more}", classes.join(", "));
    }
    if data.truncated > 0 {
        eprintln!("         {} rows cut at {} tokens", data.truncated, config.data.max_length.min(room));
    }
    report::left_out(data.skipped_rows, &data.skipped);
    dataset.notices.iter().for_each(|notice| eprintln!("         {notice}"));
    Ok(dataset)
}
