//! Answers in OpenAI's form.

use serde_json::{Value, json};
use stratune_protocol::{Problem, ProblemKind};
use stratune_session::FinishReason;

use super::request::Form;

/// What all parts of one answer have in common.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) form: Form,
    /// Its number.
    pub(super) id: u64,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
}

/// Counts of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) prompt: usize,
    pub(super) completion: usize,
}

impl Usage {
    fn json(self) -> Value {
        let Self { prompt, completion } = self;
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }
}

fn reason(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

impl Head {
    fn with(&self, object: &str, choices: Value) -> Value {
        let Self { id, created, model, .. } = self;
        let id = format!("{}-{created}-{id}", if self.form == Form::Chat { "chatcmpl" } else { "cmpl" });
        json!({"id": id, "object": object, "created": created, "model": model, "choices": choices})
    }

    /// A whole answer.
    pub(super) fn whole(&self, text: &str, finish: FinishReason, usage: Usage) -> Value {
        let (object, mut choice) = match self.form {
            Form::Chat => {
                ("chat.completion", json!({"message": {"role": "assistant", "content": text, "refusal": null}}))
            }
            Form::Completion => ("text_completion", json!({"text": text})),
        };
        choice["index"] = 0.into();
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = reason(finish).into();
        let mut whole = self.with(object, json!([choice]));
        whole["usage"] = usage.json();
        whole
    }

    /// A piece of an answer: the first says who speaks, the last why it ends.
    pub(super) fn piece(&self, text: Option<&str>, is_first: bool, finish: Option<FinishReason>) -> Value {
        let mut choice = match self.form {
            Form::Chat => {
                let mut delta = json!({});
                if is_first {
                    delta["role"] = "assistant".into();
                }
                if let Some(text) = text {
                    delta["content"] = text.into();
                }
                json!({"delta": delta})
            }
            Form::Completion => json!({"text": text.unwrap_or_default()}),
        };
        choice["index"] = 0.into();
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = finish.map(reason).into();
        self.with(self.piece_object(), json!([choice]))
    }

    /// What a stream ends with that was asked to count.
    pub(super) fn counted(&self, usage: Usage) -> Value {
        let mut counted = self.with(self.piece_object(), json!([]));
        counted["usage"] = usage.json();
        counted
    }

    fn piece_object(&self) -> &'static str {
        if self.form == Form::Chat { "chat.completion.chunk" } else { "text_completion" }
    }
}

/// The models that can be asked.
pub(super) fn models(names: &[String], created: u64) -> Value {
    let model = |name: &String| json!({"id": name, "object": "model", "created": created, "owned_by": "stratune"});
    json!({"object": "list", "data": names.iter().map(model).collect::<Vec<_>>()})
}

/// A problem, with the status that it is answered with.
pub(super) fn error(problem: &Problem) -> (u16, Value) {
    let (status, kind) = match problem.kind {
        ProblemKind::Input => (400, "invalid_request_error"),
        ProblemKind::Memory => (503, "server_error"),
        _ => (500, "server_error"),
    };
    (status, error_json(problem, kind, None))
}

/// An error in OpenAI's form.
pub(super) fn error_json(problem: &Problem, kind: &str, code: Option<&str>) -> Value {
    let next = if problem.next.is_empty() { String::new() } else { format!("; {}", problem.next) };
    let param = Some(problem.at.as_str()).filter(|at| !at.is_empty());
    json!({"error": {"message": format!("{}{next}", problem.what), "type": kind, "param": param, "code": code}})
}
