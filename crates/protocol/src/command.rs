//! What a front end asks of an engine.

use serde::{Deserialize, Serialize};

use crate::{BaseDtype, DataConfig, DeviceChoice, RunConfig};

/// What a front end asks of an engine. Over a worker's port each is one JSON string; files travel beside it in the
/// message as [`Asset`]s by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Choose the device, test it, say which it is. Answer: [`Event::Ready`](crate::Event::Ready).
    Start {
        /// Where to compute.
        device: DeviceChoice,
    },
    /// Load a model. Answer: [`Event::Model`](crate::Event::Model).
    LoadModel {
        /// `starter`, or the name of the folder whose files travel beside this message.
        model: String,
        /// What its matrices are kept as. A run that wants it otherwise has it read again.
        base_dtype: BaseDtype,
        /// The folder's files; empty for the starter.
        files: Vec<Asset>,
    },
    /// Read and tokenise data. Answer: [`Event::Data`](crate::Event::Data).
    LoadData {
        /// What the rows look like, how long they may be.
        data: DataConfig,
        /// Seed of the split into training and held-out rows.
        seed: u64,
        /// The files; empty for the example.
        files: Vec<Asset>,
    },
    /// Train with this configuration on the loaded model and data.
    Train {
        /// Everything the run depends on.
        config: Box<RunConfig>,
    },
    /// Time a few steps of such a run, and throw them away. Answer: [`Event::Pace`](crate::Event::Pace).
    Estimate {
        /// Everything the run depends on.
        config: Box<RunConfig>,
    },
    /// Halt after the step in hand; [`Command::Resume`] goes on.
    Pause,
    /// Go on after [`Command::Pause`].
    Resume,
    /// End after the step in hand, with a checkpoint.
    Stop,
    /// Look for an interrupted run in the browser's storage. Answer: [`Event::Saved`](crate::Event::Saved).
    FindSaved,
    /// Load the interrupted run's model and data and go on exactly where it was.
    Continue,
    /// Forget the interrupted run.
    Discard,
    /// Continue a prompt. Answer: [`Event::Token`](crate::Event::Token)s.
    Generate(GenerateRequest),
    /// Make a file to take away. Answer: [`Event::File`](crate::Event::File).
    Export(Export),
}

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
pub enum Voice {
    /// The model as it came.
    Base,
    /// The model with the trained adapter.
    Tuned,
}

/// How a prompt is continued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerateRequest {
    /// The text to continue.
    pub prompt: String,
    /// Put the prompt in the model's instruction form first, as the training rows were.
    pub as_instruction: bool,
    /// Who answers.
    pub voice: Voice,
    /// Most new tokens.
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time.
    pub temperature: f32,
    /// Draw among this many likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Draw among the likeliest tokens that hold this much probability.
    pub top_p: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// Stop when one of these appears; it is not part of the answer.
    pub stop: Vec<String>,
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            as_instruction: false,
            voice: Voice::Tuned,
            max_tokens: 128,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
        }
    }
}

/// A file to take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Export {
    /// The adapter folder as a zip: what Hugging Face PEFT reads.
    Adapter,
    /// The run's configuration as TOML.
    Config,
}
