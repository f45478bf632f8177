//! What an engine tells a front end.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    BudgetUnit, Catalogue, Choices, ComputeDtype, DataReport, LabelMetrics, LabelledColumns, Limits, ModelReport,
    ModelVariant, Pace, Plan, Problem,
};

/// What an engine tells a front end. Over a worker's port and in checkpoints its JSON is `{"step": {…}}`: with the name
/// among the fields, reading it back would take a twentieth of the page's code. For people it is [`line`](Self::line).
///
/// `C` is what a configuration is on this side, as in [`Command`](crate::Command).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event<C> {
    /// What there is to choose from.
    Catalogue {
        /// Methods, modes, presets, settings.
        catalogue: Box<Catalogue>,
        /// The settings of the address; where it says nothing, what a page starts with.
        config: Box<C>,
        /// What of the address cannot be used; the settings are a page's own then.
        problem: Option<Problem>,
    },
    /// What a run would be.
    Plan(Box<Plan>),
    /// The device is chosen and has passed the self-test.
    Ready(AdapterInfo),
    /// Something long is under way.
    Progress {
        /// What, such as `reading model.safetensors`.
        what: String,
        /// How much is done.
        done: u64,
        /// How much there is; 0 if unknown.
        total: u64,
    },
    /// A model is loaded.
    Model(ModelReport),
    /// What the loaded model leaves to choose from.
    Choices(Choices),
    /// Rows that cannot be read as texts to write look like texts with labels, which could be learned.
    Labelled(LabelledColumns),
    /// Data is read.
    Data(DataReport),
    /// Training begins, or goes on after a checkpoint.
    Begun {
        /// Everything the run depends on, defaults filled in.
        config: Box<C>,
        /// Steps already done.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Layers of the model.
        layers: usize,
        /// Parameters that train.
        trainable: u64,
    },
    /// A step is done.
    Step(StepReport),
    /// The scores have moved.
    Importance {
        /// Step before which they moved.
        step: usize,
        /// One score a layer: high means that training it matters. This is −s of the released code.
        scores: Vec<f32>,
        /// One probability of being drawn a layer: the weight σ(score), before normalisation.
        probabilities: Vec<f32>,
        /// What was tried to move them.
        candidates: Vec<Candidate>,
    },
    /// How a search for a structure stands.
    Search(SearchReport),
    /// A structure: what a search has found, or a file that was given.
    Structure(StructureReport),
    /// Held-out rows have been measured.
    Validation {
        /// Steps done.
        step: usize,
        /// Mean loss of a label, in nats.
        loss: f64,
        /// exp(loss).
        perplexity: f64,
        /// Whether it is the lowest so far.
        best: bool,
        /// How well whole texts are labelled, where that is learned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<LabelMetrics>,
    },
    /// A prompt was continued while training.
    Sample {
        /// Steps done.
        step: usize,
        /// The prompt.
        prompt: String,
        /// What followed.
        text: String,
    },
    /// A checkpoint is safe.
    Saved {
        /// The run, or none.
        run: Option<SavedRun<C>>,
    },
    /// Training halted; it can go on.
    Paused {
        /// Steps done.
        step: usize,
    },
    /// Training goes on.
    Resumed {
        /// Steps done.
        step: usize,
    },
    /// Training is over.
    Ended {
        /// Why.
        reason: EndReason,
        /// Steps done.
        step: usize,
        /// Lowest validation loss, and its step.
        best: Option<(usize, f64)>,
        /// Seconds of training since the run was started or resumed.
        seconds: f64,
    },
    /// Which tuned model there is to try and to take.
    Tuned {
        /// Where it comes from; none if there is no tuned model.
        run: Option<TunedRun<C>>,
    },
    /// A piece of an answer.
    Token {
        /// Who answers.
        #[serde(alias = "voice")]
        variant: ModelVariant,
        /// The next piece of text.
        text: String,
        /// Whether the answer is complete.
        done: bool,
    },
    /// A text is labelled.
    Classified {
        /// The labels with their probabilities, the likeliest first; of a model that says numbers the number.
        labels: Vec<(String, f32)>,
        /// Whether it is a number.
        number: bool,
    },
    /// A file to take away. Over a worker's port its bytes travel beside the message, unless they are stored.
    File {
        /// Its name.
        name: String,
        /// Its media type.
        media_type: String,
        /// Its size.
        bytes: u64,
        /// Where it lies in the browser's private storage, folder and name, if it is too large for a message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored: Option<[String; 2]>,
    },
    /// How long a run would take.
    Pace(Pace),
    /// Worth knowing, no error.
    Notice {
        /// One sentence.
        text: String,
    },
    /// Something went wrong.
    Problem(Problem),
}

impl<C: Serialize + DeserializeOwned> Event<C> {
    /// One line of JSON, the name among the fields: `{"event":"step","step":1,…}`. It is written by `--json` and in
    /// `metrics.jsonl`.
    pub fn line(&self) -> String {
        let nested = serde_json::to_string(self).unwrap_or_default();
        // Every event has fields: {"name":{…}}.
        match nested.strip_prefix('{').and_then(|n| n.strip_suffix('}')).and_then(|n| n.split_once(":{")) {
            Some((name, fields)) => format!("{{\"event\":{name},{fields}"),
            None => nested,
        }
    }

    /// What [`line`](Self::line) has written; none if it is no such line.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
        let name = fields.remove("event")?;
        let nested = serde_json::Map::from_iter([(name.as_str()?.to_string(), fields.into())]);
        serde_json::from_value(nested.into()).ok()
    }
}

/// What the run computes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterInfo {
    /// `cpu`, `wgpu` or `cuda`.
    pub device: String,
    /// The adapter's own name.
    pub name: String,
    /// Whether a GPU is imitated in software.
    pub software: bool,
    /// Why this one was chosen.
    pub why: String,
    /// What it told about its memory.
    #[serde(default)]
    pub limits: Limits,
    /// What it multiplies in.
    #[serde(default)]
    pub compute: Vec<ComputeDtype>,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Mean loss of a label, in nats.
    pub loss: f64,
    /// Learning rate it used.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens it read, padding left out.
    pub tokens: u64,
    /// Tokens it computed on, padding included.
    pub positions: u64,
    /// Tokens a second over the last steps.
    pub tokens_per_second: f64,
    /// Seconds left, as it goes now.
    pub seconds_left: f64,
    /// Device memory in use, if the device tells; host memory otherwise.
    pub memory_bytes: u64,
    /// Layers that trained.
    pub sampled: Vec<usize>,
}

/// How a search for a structure stands after a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// Steps done.
    pub step: usize,
    /// What the structure may have or take.
    pub budget: u64,
    /// What that counts, here and below.
    #[serde(default)]
    pub unit: BudgetUnit,
    /// What the best structure so far has or takes.
    pub parameters: u64,
    /// How likely each module is to stay: 0 if it is out.
    pub chances: Vec<f32>,
    /// The size of each module in the best structure so far: a rank or a width, 1 of what is there or is not, 0 if it is out.
    pub sizes: Vec<usize>,
    /// What the modules are, method and place; told once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Where they stand in a picture of blocks and modules; told once, with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<SearchPlace>,
    /// The same of all modules that may still stay, at their largest sizes.
    #[serde(default)]
    pub left: u64,
    /// The structures measured so far that no other is better than, whole, from the smallest to the largest: of two of them
    /// the larger has the lower loss. It is told when it changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub front: Vec<FrontPoint>,
    /// Whether it is the last report.
    pub done: bool,
}

/// Where a module of a search stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPlace {
    /// The block.
    pub block: usize,
    /// The method, for people.
    pub method: String,
    /// The linear layer of the block, such as `q_proj`; empty for a method of blocks.
    pub name: String,
    /// The largest size that it may have.
    pub largest: usize,
}

/// A structure as a front end has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StructureReport {
    /// What its file is called; empty if a search has found it.
    #[serde(default)]
    pub file: String,
    /// The text of its file.
    pub text: String,
    /// What a configuration's `method` says for it on the loaded model.
    pub methods: Vec<Value>,
    /// Modules that it has.
    pub modules: usize,
    /// Numbers that it trains.
    pub parameters: u64,
}

/// A structure that a search has measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// What it has or takes, as [`SearchReport::unit`] counts it.
    pub parameters: u64,
    /// Mean loss on rows that are set apart, always the same ones.
    pub loss: f64,
    /// The size of each module, as in [`SearchReport::sizes`].
    pub sizes: Vec<usize>,
}

/// One try of the importance loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Layers whose update was damped.
    pub damped: Vec<usize>,
    /// Loss with them damped.
    pub loss: f64,
}

/// An interrupted run that can go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRun<C> {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The model's name.
    pub model: String,
    /// When it was written: milliseconds since 1970.
    pub written: u64,
    /// Its configuration.
    pub config: Box<C>,
}

/// The run that a tuned model comes from, or the adapter that was loaded instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunedRun<C> {
    /// Its configuration.
    pub config: Box<C>,
    /// The steps after which the model was as it is.
    pub step: usize,
    /// What the adapter is called that was loaded; empty if the model comes from a run. Of its configuration only the method
    /// says something.
    #[serde(default)]
    pub adapter: String,
    /// Whether it labels texts, and writes none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub labels: bool,
}

/// Why training is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// All steps are done.
    Steps,
    /// The validation loss stopped falling.
    EarlyStop,
    /// Somebody asked.
    Stopped,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Event = super::Event<serde_json::Value>;

    #[test]
    fn a_line_has_the_name_among_the_fields() {
        let line = Event::Paused { step: 3 }.line();
        assert_eq!(line, r#"{"event":"paused","step":3}"#);
        let report = StepReport { step: 7, loss: 0.5, ..StepReport::default() };
        let fields = serde_json::to_value(&report).unwrap();
        let line: serde_json::Value = serde_json::from_str(&Event::Step(report).line()).unwrap();
        assert_eq!(line["event"], "step");
        assert!(fields.as_object().unwrap().iter().all(|(name, value)| line[name] == *value), "{line}");
        let problem = Event::Problem(Problem::input("a } and a :{ in a text"));
        let line: serde_json::Value = serde_json::from_str(&problem.line()).unwrap();
        assert_eq!((line["event"].as_str(), line["what"].as_str()), (Some("problem"), Some("a } and a :{ in a text")));
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let config = Box::new(serde_json::json!({ "model": "starter" }));
        for event in [
            Event::Begun { config, step: 1, steps: 2, layers: 3, trainable: 4 },
            Event::Saved { run: None },
            Event::Ended { reason: EndReason::EarlyStop, step: 9, best: Some((5, 1.25)), seconds: 0.5 },
        ] {
            assert_eq!(serde_json::from_str::<Event>(&serde_json::to_string(&event).unwrap()).unwrap(), event);
            assert_eq!(Event::from_line(&event.line()), Some(event));
        }
        for wrong in ["", "{}", r#"{"event":"stop"}"#, r#"{"event":3}"#, r#"{"step":{"step":1}}"#] {
            assert_eq!(Event::from_line(wrong), None, "{wrong}");
        }
    }
}
