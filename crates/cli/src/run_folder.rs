//! A run in a folder: what is in its way there, where it goes on, what it says meanwhile, and what it leaves.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use serde_json::Value;
use stratune_data::Dataset;
use stratune_protocol::{Problem, Verdict, advice};
use stratune_search::Found;
use stratune_session::{
    Base, Conditions, Recorder, Samples, Saving, prompts, read_dataset, saved_run, set_apart, watched_search,
    watched_trainer,
};
use stratune_store::{Checkpoint, CheckpointStore, DiskCheckpoints};
use stratune_train::{Event, ProgressReporter, RunConfig, TrainOutput, Trainer};

use crate::arguments::RunFlags;
use crate::records::Records;
use crate::report::{self, Bar};
use crate::{hub, interrupt, open, out_of_memory};

/// Where a run is, and what becomes of one that is there.
#[derive(Args)]
pub struct RunFolder {
    /// Folder for what comes out, the configuration, metrics and the checkpoint
    #[arg(long)]
    pub out: PathBuf,
    /// Go on where the run in --out was interrupted; its configuration holds, but for --device and --compute-dtype
    #[arg(long)]
    pub resume: bool,
    /// Replace what is in --out, which stays until this run has its first checkpoint
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
}

/// A run that is about to begin.
pub struct Plan {
    /// What it is.
    pub config: RunConfig,
    /// Where it goes on.
    checkpoint: Option<Checkpoint>,
    /// Whether it takes the place of another.
    replaces: bool,
}

/// A run that has come to its end, or was stopped.
pub struct Done {
    /// What has trained.
    pub trainer: Trainer,
    /// What a search has found.
    pub found: Option<Found>,
    /// How it ended.
    pub ended: TrainOutput,
}

impl RunFolder {
    /// The run to go on with, if that is asked for. The flags say on what it goes on.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn resumed(&self, run: &RunFlags, json: bool) -> Result<Option<Plan>, Problem> {
        if !self.resume {
            return Ok(None);
        }
        let checkpoint = DiskCheckpoints::new(&self.out).load().await?.ok_or_else(|| {
            Problem::input("there is no checkpoint to resume from")
                .at(self.out.display().to_string())
                .next("leave --resume out to start a run")
        })?;
        let mut config = *saved_run(&checkpoint)?.config;
        config.model = hub::fetched(&config.model, json).await?;
        hub::fetch_data(&mut config.data, json).await?;
        config.device = run.device.unwrap_or(config.device);
        config.compute_dtype = run.compute_dtype.unwrap_or(config.compute_dtype);
        Ok(Some(Plan { config, checkpoint: Some(checkpoint), replaces: false }))
    }

    /// Whether it holds the checkpoint or the result, one of these files, of a run that may be replaced.
    ///
    /// # Errors
    /// It does, and may not.
    pub fn replaces(&self, results: &[&str]) -> Result<bool, Problem> {
        let used = ["checkpoint.safetensors"].iter().chain(results).any(|file| self.out.join(file).exists());
        if used && !self.overwrite {
            return Err(Problem::input("the folder holds a run already")
                .at(self.out.display().to_string())
                .next("use --resume to go on with it, --overwrite to replace it, or another --out"));
        }
        Ok(used)
    }

    /// Runs it to its end, or until it is interrupted: a search if its configuration asks for one and `searches`.
    ///
    /// # Errors
    /// It cannot begin, or fails on its way; or something cannot be written.
    pub async fn run(&self, plan: Plan, searches: bool, json: bool) -> Result<Done, Problem> {
        let Plan { config, checkpoint, replaces } = plan;
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
        let (from, data) = (checkpoint.as_ref(), dataset.clone());
        let (mut trainer, found) = if searches {
            let (trainer, found) = watched_search(config.clone(), &base, data, from, &watch).await?;
            (trainer, Some(found))
        } else {
            (watched_trainer(config.clone(), &base, data, from, &watch).await?, None)
        };
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
        // What a search trains is all of its modules at once, which says nothing.
        let prompts = if searches { Vec::new() } else { prompts(&config, &dataset) };
        let mut recorder = Recorder {
            emit: &mut emit,
            checkpoints: Rc::new(DiskCheckpoints::new(&self.out)),
            samples: Samples::new(prompts, &base.tokenizer, &base.template),
            log: None,
            beside: Value::Null,
            saving: Saving::Needed,
            once_saved: None,
        };
        let ended = trainer.run(&mut recorder, &control).await;
        let ended = ended.map_err(|problem| conditions.explain(&config, problem))?;
        records.finish()?;
        Ok(Done { trainer, found, ended })
    }
}

impl Plan {
    /// A run that begins.
    ///
    /// # Errors
    /// It has no data.
    pub fn begin(config: RunConfig, replaces: bool) -> Result<Self, Problem> {
        if config.data.files.is_empty() {
            return Err(Problem::input("no data is given").at("--data").next("name a file, or `example`"));
        }
        Ok(Self { config, checkpoint: None, replaces })
    }
}

/// Says what the run will need. A forecast may be wrong, so a run that is not said to fit is warned of, not refused.
fn foretell(conditions: &Conditions<'_>, config: &RunConfig, json: bool) {
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
fn read_data(config: &RunConfig, base: &Base, json: bool) -> Result<Rc<Dataset>, Problem> {
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
