//! What a front end asks of an engine.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DeviceChoice, Problem};

/// What a front end asks of an engine. Over a worker's port each is one JSON string; files travel beside it in the
/// message as [`Asset`]s by name.
///
/// `C` is what a configuration is on this side: the page holds it as it came, without knowing its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command<C> {
    /// Say what there is to choose from, and what an address's settings are. Answered at once.
    /// Answer: [`Event::Catalogue`](crate::Event::Catalogue).
    Catalogue {
        /// The part of the address after `#`.
        link: String,
    },
    /// Work out what a run would be. Answered at once. Answer: [`Event::Plan`](crate::Event::Plan).
    Plan {
        /// A configuration, which need not be a sound one.
        config: Value,
    },
    /// Write a configuration as TOML. Answered at once. Answer: [`Event::File`](crate::Event::File).
    WriteConfig {
        /// The configuration.
        config: Box<C>,
    },
    /// Read a structure's file, for the loaded model. Answered at once. Answer: [`Event::Structure`](crate::Event::Structure).
    ReadStructure {
        /// What it is called.
        name: String,
        /// Its text.
        text: String,
    },
    /// Choose the device, test it, say which it is. Answer: [`Event::Ready`](crate::Event::Ready).
    Start {
        /// Where to compute.
        device: DeviceChoice,
    },
    /// Load a model. Answers: [`Event::Model`](crate::Event::Model), [`Event::Choices`](crate::Event::Choices).
    LoadModel {
        /// Its `model` is `starter`, or the name of the folder whose files travel beside this message; its `base_dtype` says
        /// what the matrices are kept as. A run that wants it otherwise has it read again.
        config: Box<C>,
        /// The folder's files; empty for the starter.
        files: Vec<Asset>,
    },
    /// Read and tokenise data. Answer: [`Event::Data`](crate::Event::Data).
    LoadData {
        /// Its `data` says what the rows look like and how long they may be; its seed splits them into training and held-out
        /// rows.
        config: Box<C>,
        /// The files; empty for the example.
        files: Vec<Asset>,
    },
    /// Train with this configuration on the loaded model and data.
    Train {
        /// Everything the run depends on.
        config: Box<C>,
    },
    /// Time a few steps of such a run, and throw them away. Answer: [`Event::Pace`](crate::Event::Pace).
    Estimate {
        /// Everything the run depends on.
        config: Box<C>,
    },
    /// Halt after the step in hand; [`Command::Resume`] goes on.
    Pause,
    /// Go on after [`Command::Pause`].
    Resume,
    /// End after the step in hand, with a checkpoint; or the answer that is being written.
    Stop,
    /// Look for an interrupted run in the browser's storage. Answer: [`Event::Saved`](crate::Event::Saved).
    FindSaved,
    /// Load the interrupted run's model and data and go on exactly where it was.
    Continue,
    /// Forget the interrupted run.
    Discard,
    /// Continue a prompt or a conversation; [`Command::Stop`] ends the answer.
    /// Answer: [`Event::Token`](crate::Event::Token)s.
    Generate(GenerateRequest),
    /// Label a text, or an image, with the tuned model. Answer: [`Event::Classified`](crate::Event::Classified).
    Classify {
        /// The text; empty where an image is labelled.
        text: String,
        /// The second text, where pairs are labelled; empty: there is none.
        text_pair: String,
        /// The image's file; empty where a text is labelled.
        files: Vec<Asset>,
    },
    /// Put an adapter that a person has into a copy of the model, as the tuned one.
    /// Answer: [`Event::Tuned`](crate::Event::Tuned).
    LoadAdapter {
        /// What it is called.
        name: String,
        /// The files of its folder, as Hugging Face PEFT has it, or a zip of it.
        files: Vec<Asset>,
    },
    /// Make what was tuned a zip to take away. Answer: [`Event::File`](crate::Event::File).
    Export {
        /// In which form.
        form: ExportForm,
    },
}

/// In which form a tuned model is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportForm {
    /// The adapter's folder, which Hugging Face PEFT reads where it has the method.
    #[default]
    Adapter,
    /// The adapter as GGUF, where it is LoRA in the end.
    GgufAdapter,
    /// The merged model as GGUF, in halves.
    GgufF16,
    /// The merged model as GGUF, in 8 bits.
    GgufQ8,
    /// The merged model as GGUF, in 4 to 6 bits (Q4_K_M).
    GgufQ4,
    /// The merged model's folder, which transformers reads.
    Folder,
}

impl ExportForm {
    /// All of them, what most people want first.
    pub const ALL: [Self; 6] =
        [Self::Adapter, Self::GgufAdapter, Self::GgufQ4, Self::GgufQ8, Self::GgufF16, Self::Folder];

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Adapter => "Adapter, for PEFT",
            Self::GgufAdapter => "Adapter, as GGUF",
            Self::GgufQ4 => "Model, as GGUF Q4_K_M",
            Self::GgufQ8 => "Model, as GGUF Q8_0",
            Self::GgufF16 => "Model, as GGUF F16",
            Self::Folder => "Model, for transformers",
        }
    }
}

/// What parts the folders of a path in an [`Asset`]'s name, as an engine's folder has no folders in it.
pub const FOLDER_MARK: char = '\u{2215}';

/// A file that travels beside a message: its path inside the dropped folder, and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Relative path or plain name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// Which model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelVariant {
    /// The model as it came.
    Base,
    /// The model with the trained adapter.
    Tuned,
}

/// How a prompt or a conversation is continued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerateRequest {
    /// The text to continue, if there are no messages.
    pub prompt: String,
    /// A conversation to continue, each message with `role` and `content`, as data sets have them.
    pub messages: Vec<Value>,
    /// The tools that the assistant may call in it.
    pub tools: Vec<Value>,
    /// Put the prompt in the model's instruction form first, as the training rows were.
    pub as_instruction: bool,
    /// Who answers.
    #[serde(alias = "voice")]
    pub variant: ModelVariant,
    /// Most new tokens.
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time.
    pub temperature: f32,
    /// Draw among this many likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Draw among the likeliest tokens that hold this much probability.
    pub top_p: f32,
    /// Draw among the tokens that have at least this share of the likeliest's probability; 0 is all.
    pub min_p: f32,
    /// Tokens that are there already become less likely by this; 1 leaves them.
    pub repetition_penalty: f32,
    /// Continue this many of the likeliest texts at once, and take the best at the end; 1 goes token by token.
    pub num_beams: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Stop when one of these appears; it is not part of the answer.
    pub stop: Vec<String>,
}

impl GenerateRequest {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// Names the first that is out of range.
    pub fn check(&self) -> Result<(), Problem> {
        let bad = |field: &str, value: f32, next: &str| {
            Err(Problem::input(format!("{field} is {value}")).at(field).next(next))
        };
        let Self { temperature, top_p, min_p, repetition_penalty, .. } = *self;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return bad("temperature", temperature, "use 0 or more");
        }
        for (field, value) in [("top_p", top_p), ("min_p", min_p)] {
            if !(0.0..=1.0).contains(&value) {
                return bad(field, value, "use 0 to 1");
            }
        }
        if !(repetition_penalty.is_finite() && repetition_penalty > 0.0) {
            return bad("repetition_penalty", repetition_penalty, "use more than 0; 1 changes nothing");
        }
        if self.max_tokens == 0 {
            return Err(Problem::input("max_tokens is 0").at("max_tokens").next("use 1 or more"));
        }
        if self.num_beams == 0 {
            return Err(Problem::input("num_beams is 0").at("num_beams").next("use 1 or more"));
        }
        let drawn = temperature != 0.0 || repetition_penalty != 1.0;
        if self.num_beams > 1 && drawn {
            return Err(Problem::input(
                "num_beams searches for the likeliest text, and draws or penalties change what is likely",
            )
            .at("num_beams")
            .next("set temperature to 0 and repetition_penalty to 1, or num_beams to 1"));
        }
        Ok(())
    }
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            as_instruction: false,
            variant: ModelVariant::Tuned,
            max_tokens: 128,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            num_beams: 1,
            seed: 0,
            stop: Vec::new(),
        }
    }
}
