//! `stratune train`

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use stratune_data::{Dataset, load};
use stratune_protocol::{Conditions, EndReason, Event, Problem, RunConfig, Verdict, advice};
use stratune_session::{Base, Recorder, Saving, adapter_of, happened_by, prompts, saved_run, trainer};
use stratune_store::{Checkpoint, DiskVault, Vault, write_files};

use crate::arguments::RunFlags;
use crate::report::{self, Bar};
use crate::{exhausted, interrupt, open};

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
    /// Replace the run in --out
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
}

impl Train {
    /// Runs, and gives the exit code.
    pub async fn run(self, json: bool) -> Result<u8, Problem> {
        let vault = Rc::new(DiskVault::new(&self.out));
        let (config, checkpoint) = self.plan(vault.as_ref()).await?;
        let control = interrupt::control()?;
        let opened = open::device(config.device, json).await?;
        let base = open::base(&config.model, config.base_dtype, &opened, json).await?;
        let dataset = Rc::new(read_data(&config, &base, json)?);
        let (model, width) = (&base.report(), Some(dataset.report.width));
        let conditions = Conditions { model, device: &opened.info, width };
        foretell(&conditions, &config, json);
        exhausted::advise(advice(&conditions.savings(&config)));
        let mut trainer = trainer(config.clone(), &base, dataset.clone(), checkpoint.as_ref()).await?;

        let step = trainer.progress().0;
        let mut metrics = Metrics::open(&self.out, step)?;
        let run_toml = ("run.toml".to_string(), config.to_toml()?.into_bytes());
        write_files(&self.out, &[run_toml], true)?;
        let mut bar = Bar::new();
        let mut emit = |event: &Event| {
            metrics.write(event);
            if json { report::event(event) } else { bar.show(event) }
        };
        let mut recorder = Recorder {
            emit: &mut emit,
            vault,
            prompts: prompts(&config, &dataset),
            tokenizer: &base.tokenizer,
            template: &base.template,
            history: None,
            saving: Saving::Needed,
        };
        let ended = trainer.run(&mut recorder, &control).await;
        let ended = ended.map_err(|problem| conditions.explain(&config, problem))?;
        metrics.finish()?;
        let files = adapter_of(&trainer.model, &config).await?;
        write_files(&self.out, &files, true)?;
        if !json {
            eprintln!("adapter  {}", self.out.display());
        }
        Ok(if ended.reason == EndReason::Stopped { interrupt::EXIT_CODE } else { 0 })
    }

    /// The configuration, and the checkpoint to go on from.
    async fn plan(&self, vault: &DiskVault) -> Result<(RunConfig, Option<Checkpoint>), Problem> {
        let at = self.out.display().to_string();
        if self.resume {
            let checkpoint = vault.load().await?.ok_or_else(|| {
                Problem::input("there is no checkpoint to resume from")
                    .at(&at)
                    .next("leave --resume out to start a run")
            })?;
            let mut config = *saved_run(&checkpoint)?.config;
            config.device = self.run.device.unwrap_or(config.device);
            config.compute_dtype = self.run.compute_dtype.unwrap_or(config.compute_dtype);
            return Ok((config, Some(checkpoint)));
        }
        let used = ["checkpoint.safetensors", "adapter_model.safetensors"].iter().any(|f| self.out.join(f).exists());
        if used && !self.overwrite {
            return Err(Problem::input("the folder holds a run already")
                .at(&at)
                .next("use --resume to go on with it, --overwrite to replace it, or another --out"));
        }
        let config = self.run.to_config().await?;
        if config.data.files.is_empty() {
            return Err(Problem::input("no data is given").at("--data").next("name a file, or `example`"));
        }
        if used {
            vault.clear().await?;
        }
        Ok((config, None))
    }
}

/// Says what the run will need. A forecast may be wrong, so a run that is not said to fit is warned of, not refused.
fn foretell(conditions: &Conditions<'_>, config: &RunConfig, json: bool) {
    let outlook = conditions.outlook(config);
    let mut text = outlook.sentence();
    let warns = outlook.verdict >= Verdict::Tight;
    if warns {
        text = format!("{text}; {}", advice(&outlook.remedies));
    }
    match json {
        true if warns => report::event(&Event::Notice { text }),
        true => {}
        false => eprintln!("memory   {text}"),
    }
}

/// Reads, templates and tokenises the data, and tells what was cut or left out.
fn read_data(config: &RunConfig, base: &Base, json: bool) -> Result<Dataset, Problem> {
    let files = open::files(&config.data.files)?;
    let room = base.context().saturating_sub(config.method.taken_positions());
    let dataset = load(&files, &config.data, &base.tokenizer, room, config.train.seed)?;
    if json {
        report::event(&Event::Data(dataset.report.clone()));
        return Ok(dataset);
    }
    let data = &dataset.report;
    eprintln!(
        "data     {} · {} · {} rows to train on, {} held out, {} tokens of which {} are learned",
        data.files.join(", "),
        data.format,
        data.train_rows,
        data.validation_rows,
        data.tokens,
        data.learned_tokens
    );
    if data.truncated > 0 {
        eprintln!("         {} rows cut at {} tokens", data.truncated, config.data.max_length.min(room));
    }
    report::left_out(data.skipped_rows, &data.skipped);
    dataset.notices.iter().for_each(|notice| eprintln!("         {notice}"));
    Ok(dataset)
}

/// `metrics.jsonl`: the run's events, one a line.
struct Metrics {
    path: PathBuf,
    file: BufWriter<File>,
    failed: Option<std::io::Error>,
}

impl Metrics {
    /// Goes on after the first `done` steps of the file that is there; what a killed run wrote after its checkpoint
    /// happens again and is dropped.
    fn open(out: &Path, done: usize) -> Result<Self, Problem> {
        let path = out.join("metrics.jsonl");
        let fail = |e: std::io::Error| open::cannot_write(&path, &e);
        std::fs::create_dir_all(out).map_err(fail)?;
        let before = if done > 0 { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let kept = before.lines().filter(|line| Event::from_line(line).is_some_and(|e| happened_by(&e, done)));
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        write_files(out, &[("metrics.jsonl".into(), kept.into_bytes())], true)?;
        let file = BufWriter::new(OpenOptions::new().append(true).open(&path).map_err(fail)?);
        Ok(Self { path, file, failed: None })
    }

    fn write(&mut self, event: &Event) {
        let lasting = matches!(
            event,
            Event::Step(_)
                | Event::Validation { .. }
                | Event::Importance { .. }
                | Event::Sample { .. }
                | Event::Ended { .. }
        );
        if !lasting || self.failed.is_some() {
            return;
        }
        let line = event.line();
        let flush = !matches!(event, Event::Step(s) if s.step % 10 != 0);
        let written = writeln!(self.file, "{line}").and_then(|()| if flush { self.file.flush() } else { Ok(()) });
        self.failed = written.err();
    }

    /// A full disk is told at the end, after the run itself is safe.
    fn finish(&mut self) -> Result<(), Problem> {
        let written = self.failed.take().map_or_else(|| self.file.flush(), Err);
        written.map_err(|e| open::cannot_write(&self.path, &e))
    }
}
