//! Answers in OpenAI's form.

use serde_json::{Value, json};
use stratune_protocol::{Problem, ProblemKind};
use stratune_session::{FinishReason, ToolCall};

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

fn reason(finish: FinishReason, calls: &[ToolCall]) -> &'static str {
    match finish {
        _ if !calls.is_empty() => "tool_calls",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// Most calls of one answer that have an id of their own.
const CALLS: u64 = 1 << 8;

impl Head {
    fn with(&self, object: &str, choices: Value) -> Value {
        let Self { id, created, model, .. } = self;
        let id = format!("{}-{created}-{id}", if self.form == Form::Chat { "chatcmpl" } else { "cmpl" });
        json!({"id": id, "object": object, "created": created, "model": model, "choices": choices})
    }

    /// The calls of an answer, each with an id.
    fn calls(&self, calls: &[ToolCall]) -> Vec<Value> {
        let first = (self.created << 16).wrapping_add(self.id.wrapping_mul(CALLS));
        calls.iter().zip(first..).map(|(call, id)| call.json(id)).collect()
    }

    /// A whole answer.
    pub(super) fn whole(&self, text: &str, calls: &[ToolCall], finish: FinishReason, usage: Usage) -> Value {
        let (object, mut choice) = match self.form {
            Form::Chat => {
                let mut message = json!({"role": "assistant", "content": text, "refusal": null});
                if !calls.is_empty() {
                    message["tool_calls"] = self.calls(calls).into();
                }
                if !calls.is_empty() && text.trim().is_empty() {
                    message["content"] = Value::Null;
                }
                ("chat.completion", json!({"message": message}))
            }
            Form::Completion => ("text_completion", json!({"text": text})),
        };
        choice["index"] = 0.into();
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = reason(finish, calls).into();
        let mut whole = self.with(object, json!([choice]));
        whole["usage"] = usage.json();
        whole
    }

    /// The last piece of an answer: what tools it calls, and why it ends.
    pub(super) fn last(&self, calls: &[ToolCall], finish: FinishReason) -> Value {
        let mut piece = self.piece(None, false);
        let choice = &mut piece["choices"][0];
        for (index, mut call) in self.calls(calls).into_iter().enumerate() {
            call["index"] = index.into();
            match &mut choice["delta"]["tool_calls"] {
                Value::Array(told) => told.push(call),
                none => *none = json!([call]),
            }
        }
        choice["finish_reason"] = reason(finish, calls).into();
        piece
    }

    /// A piece of an answer: the first says who speaks.
    pub(super) fn piece(&self, text: Option<&str>, is_first: bool) -> Value {
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
        choice["finish_reason"] = Value::Null;
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

#[cfg(test)]
mod tests {
    use stratune_session::ToolCallReader;

    use super::*;

    #[test]
    fn calls_come_in_place_of_text() {
        let head = Head { form: Form::Chat, id: 3, created: 1_800_000_000, model: "m".into() };
        let mut reader = ToolCallReader::new(&[json!({"name": "f"})]);
        let said = reader.text("<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call><tool_call>".into());
        assert_eq!(said, "");
        assert_eq!(reader.text("{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>".into()), "");
        let (rest, calls) = reader.end();
        let whole = head.whole(&rest, &calls, FinishReason::Stop, Usage::default());
        let choice = &whole["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        let told = choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        assert_eq!((told.len(), &told[1]["function"]["arguments"]), (2, &json!("{\"x\":1}")));
        assert_ne!(told[0]["id"], told[1]["id"]);

        let last = head.last(&calls, FinishReason::Stop);
        let delta = &last["choices"][0]["delta"]["tool_calls"];
        assert_eq!((&delta[0]["index"], &delta[1]["index"], &delta[1]["id"]), (&json!(0), &json!(1), &told[1]["id"]));
        assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");

        let plain = head.whole("no", &[], FinishReason::Length, Usage::default());
        assert_eq!(plain["choices"][0]["finish_reason"], "length");
        assert!(plain["choices"][0]["message"].get("tool_calls").is_none());
        assert!(head.last(&[], FinishReason::Stop)["choices"][0]["delta"].get("tool_calls").is_none());
    }
}
