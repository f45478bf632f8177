//! `stratune chat`

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stratune_models::{CachedText, Model};
use stratune_protocol::{BaseDtype, DeviceChoice, GenerateRequest, ModelVariant, Problem};
use stratune_session::{Base, answer_after};
use stratune_train::{Event, RunConfig};

use crate::arguments::choose;
use crate::interrupt::Answering;
use crate::sampling_flags::SamplingFlags;
use crate::{hub, open, report};

/// Talk with a model, turn by turn.
#[derive(Args)]
pub struct Chat {
    /// The model: `starter`, a folder in Hugging Face form, a GGUF file, or the id of a model on the Hugging Face hub, owner/name[@revision][:file.gguf]
    #[arg(long, default_value = "starter")]
    model: String,
    /// An adapter: its folder, or a GGUF file of LoRA
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// What the assistant is told first [default: the system prompt that the adapter's run has in its run.toml]
    #[arg(long)]
    system: Option<String>,
    /// What the model's matrices are kept as: file (a GGUF's blocks in their own bits), f32, f16, int8 or int4
    #[arg(long, default_value = "file", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    #[command(flatten)]
    sampling: SamplingFlags,
}

/// What a line that begins with a slash does.
const HELP: &str = "\
/reset         forget what was said
/system TEXT   tell the assistant something first, and forget what was said; without a text, nothing
/base          have the model answer the last question again without the adapter
/save FILE     add the conversation to a file, as a row of data
/help          this list
/quit          end, as the end of input does
Ctrl-C stops an answer; where none is being written, it ends the chat.";

impl Chat {
    /// Reads questions from standard input, streams the answers to standard output.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let request = self.sampling.request()?;
        let recorded = self.adapter.as_deref().map(recorded_system).transpose()?.flatten();
        let opened = open::device(self.device, json).await?;
        let model = hub::fetched(&self.model, json).await?;
        let base = open::base(&model, self.base_dtype, &opened, json).await?;
        let mut tuned = None;
        if let Some(adapter) = &self.adapter {
            let mut model = base.model.clone();
            stratune_session::attach(&mut model, &open::adapter(adapter, &base.model.config).await?).await?;
            tuned = Some(model);
        }
        let answering = Answering::watch()?;
        let mut talk =
            Talk { base: &base, request, messages: Vec::new(), kept: CachedText::default(), answering, json };
        talk.reset(self.system.or(recorded));
        let typed = io::stdin().is_terminal();
        if typed {
            eprintln!("/help lists commands");
        }
        for line in (Lines { typed }) {
            let line = line?;
            let asked = line.trim();
            match asked.strip_prefix('/') {
                _ if asked.is_empty() => {}
                None => talk.ask(tuned.as_ref(), asked).await?,
                Some(command) => {
                    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
                    match (name, rest.trim()) {
                        ("quit" | "exit", _) => break,
                        ("reset", _) => talk.reset(talk.system().map(String::from)),
                        ("system", text) => talk.reset(Some(text.into())),
                        ("base", _) => talk.ask_base().await?,
                        ("save", file) => talk.save(Path::new(file)),
                        ("help", _) => eprintln!("{HELP}"),
                        _ => eprintln!("there is no command /{name}; /help lists those there are"),
                    }
                }
            }
        }
        Ok(())
    }
}

/// The system prompt of the data that an adapter was trained on, if its folder is that of a run.
fn recorded_system(adapter: &Path) -> Result<Option<String>, Problem> {
    let path = adapter.join("run.toml");
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&open::read(&path)?).into_owned();
    let config = RunConfig::from_toml(&text).map_err(|problem| problem.at(path.display().to_string()))?;
    Ok(Some(config.data.system_prompt).filter(|system| !system.is_empty()))
}

/// A conversation so far.
struct Talk<'a> {
    base: &'a Base,
    /// Its settings.
    request: GenerateRequest,
    messages: Vec<Value>,
    /// What the model holds of it.
    kept: CachedText,
    answering: Answering,
    json: bool,
}

impl Talk<'_> {
    fn system(&self) -> Option<&str> {
        self.messages.first().filter(|first| first["role"] == "system")?["content"].as_str()
    }

    fn reset(&mut self, system: Option<String>) {
        let said = system.into_iter().filter(|text| !text.is_empty());
        self.messages = said.map(|text| json!({"role": "system", "content": text})).collect();
    }

    /// The next question, answered by the model with its adapter, if it has one. A question that cannot be answered is told and
    /// forgotten.
    async fn ask(&mut self, tuned: Option<&Model>, question: &str) -> Result<(), Problem> {
        self.messages.push(json!({"role": "user", "content": question}));
        let mut kept = std::mem::take(&mut self.kept);
        let said = self.answer(tuned, &mut kept).await?;
        self.kept = kept;
        match said {
            Some(text) => self.messages.push(json!({"role": "assistant", "content": text.trim()})),
            None => drop(self.messages.pop()),
        }
        Ok(())
    }

    /// The last question, answered by the model as it came. Nothing of it is remembered.
    async fn ask_base(&mut self) -> Result<(), Problem> {
        let Some(last) = self.messages.iter().rposition(|message| message["role"] == "user") else {
            eprintln!("nothing has been asked yet");
            return Ok(());
        };
        let later = self.messages.split_off(last + 1);
        let said = self.answer(None, &mut CachedText::default()).await;
        self.messages.extend(later);
        said.map(|_| ())
    }

    /// What a model says to the messages; none if they are not what it takes.
    async fn answer(&self, tuned: Option<&Model>, kept: &mut CachedText) -> Result<Option<String>, Problem> {
        let (model, variant) = match tuned {
            Some(model) => (model, ModelVariant::Tuned),
            None => (&self.base.model, ModelVariant::Base),
        };
        let request = GenerateRequest { messages: self.messages.clone(), variant, ..self.request.clone() };
        let mut said = String::new();
        let tell = |text: &str, done| {
            if self.json {
                report::event(&Event::Token { variant, text: text.into(), done });
            } else {
                print!("{text}{}", if done { "\n" } else { "" });
                // A closed pipe is noticed when the process ends.
                let _ = io::stdout().flush();
            }
        };
        let asked = self.answering.begin();
        let mut piece = |text: &str| {
            // What a model without a template begins with is the space after the colon.
            let text = if said.is_empty() { text.trim_start() } else { text };
            said.push_str(text);
            if !text.is_empty() {
                tell(text, false);
            }
            asked.goes_on()
        };
        let speaks = (&self.base.tokenizer, &self.base.template);
        let answered = answer_after(model, speaks, &request, kept, &mut piece).await;
        match answered {
            Err(problem) if problem.kind == stratune_protocol::ProblemKind::Input => {
                report::problem(&problem, self.json);
                Ok(None)
            }
            Err(problem) => Err(problem),
            Ok(_) => {
                tell("", true);
                Ok(Some(said))
            }
        }
    }

    /// Adds the conversation to a file; what is wrong is told, and the chat goes on.
    fn save(&self, path: &Path) {
        let line = json!({"messages": self.messages}).to_string();
        let open = || -> io::Result<File> { OpenOptions::new().append(true).create(true).open(path) };
        let saved = match path.as_os_str().is_empty() {
            true => Err(Problem::input("/save is to know where").next("name a file: /save chats.jsonl")),
            false => open().and_then(|mut file| writeln!(file, "{line}")).map_err(|e| open::cannot_write(path, &e)),
        };
        match saved {
            Ok(()) => eprintln!("saved in {}", path.display()),
            Err(problem) => report::problem(&problem, self.json),
        }
    }
}

/// The lines of standard input, asked for by a prompt where a person types them.
struct Lines {
    typed: bool,
}

impl Iterator for Lines {
    type Item = Result<String, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.typed {
            eprint!("> ");
        }
        let mut line = Vec::new();
        match io::stdin().lock().read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                Some(String::from_utf8(line).map_err(|_| Problem::input("the input is not UTF-8").next("type text")))
            }
            Err(e) => Some(Err(Problem::input(format!("standard input cannot be read: {e}")))),
        }
    }
}
