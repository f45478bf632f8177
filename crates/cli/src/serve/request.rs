//! What a body in OpenAI's form asks for.

use serde_json::{Map, Value};
use stratune_protocol::{GenerateRequest, Problem};

/// What a body asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    /// The name of the model.
    pub(super) model: String,
    pub(super) request: GenerateRequest,
    /// Whether the answer is sent while it is written.
    pub(super) stream: bool,
    /// Whether a stream ends with the counts of tokens.
    pub(super) with_usage: bool,
}

/// Which of the two forms a body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

/// What would change an answer and is not computed here, unless it has a value that changes nothing.
const REFUSED: [&str; 13] = [
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "functions",
    "function_call",
    "best_of",
    "echo",
    "suffix",
    "audio",
    "prediction",
];

/// Most tokens of a completion that does not say: OpenAI's.
const COMPLETION: usize = 16;

impl Asked {
    /// Reads a body. `seed` is that of draws if the body has none.
    ///
    /// # Errors
    /// It is not JSON, lacks something, or asks for what is not computed here; `at` is the field.
    pub(super) fn read(body: &[u8], form: Form, seed: u64) -> Result<Self, Problem> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Problem::input(format!("the body is not JSON: {error}")).next("send a JSON object"))?;
        let Value::Object(fields) = &body else {
            return Err(Problem::input("the body is no JSON object").next("send a JSON object"));
        };
        let fields = Fields(fields);
        for name in REFUSED {
            if fields.get(name).is_some_and(|value| !changes_nothing(name, value)) {
                return Err(Problem::input(format!("{name} is not supported")).at(name).next("leave it out"));
            }
        }
        if fields.number("n")?.is_some_and(|n| n != 1.0) {
            return Err(Problem::input("n is not 1, and one answer is written to a request")
                .at("n")
                .next("ask n times"));
        }
        let mut request = GenerateRequest {
            temperature: fields.number("temperature")?.unwrap_or(1.0) as f32,
            top_p: fields.number("top_p")?.unwrap_or(1.0) as f32,
            min_p: fields.number("min_p")?.unwrap_or(0.0) as f32,
            top_k: fields.whole("top_k")?.unwrap_or(0),
            repetition_penalty: fields.number("repetition_penalty")?.unwrap_or(1.0) as f32,
            seed: match fields.get("seed") {
                None => seed,
                Some(value) => {
                    let whole = value.as_i64().map(i64::cast_unsigned).or_else(|| value.as_u64());
                    whole.ok_or_else(|| wrong("seed", "a whole number"))?
                }
            },
            stop: fields.stop()?,
            ..GenerateRequest::default()
        };
        let most = fields.whole("max_tokens")?;
        match form {
            Form::Chat => {
                request.messages = fields.list("messages")?.ok_or_else(|| wrong("messages", "there"))?;
                if request.messages.is_empty() {
                    return Err(wrong("messages", "a list with something in it"));
                }
                request.tools = match fields.get("tool_choice").and_then(Value::as_str) {
                    Some("none") => Vec::new(),
                    Some("auto") => fields.list("tools")?.unwrap_or_default(),
                    None if fields.get("tool_choice").is_none() => fields.list("tools")?.unwrap_or_default(),
                    _ => return Err(wrong("tool_choice", "auto or none: the model chooses")),
                };
                request.max_tokens = fields.whole("max_completion_tokens")?.or(most).unwrap_or(usize::MAX);
            }
            Form::Completion => {
                request.prompt = match fields.get("prompt") {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Array(list)) if list.len() == 1 && list[0].is_string() => {
                        list[0].as_str().unwrap_or_default().into()
                    }
                    _ => return Err(wrong("prompt", "a text")),
                };
                request.max_tokens = most.unwrap_or(COMPLETION);
            }
        }
        request.check()?;
        let model = fields.get("model").and_then(Value::as_str).ok_or_else(|| wrong("model", "the name of a model"))?;
        let options = fields.get("stream_options").and_then(|options| options["include_usage"].as_bool());
        Ok(Self {
            model: model.into(),
            request,
            stream: fields.flag("stream")?.unwrap_or(false),
            with_usage: options.unwrap_or(false),
        })
    }
}

/// Whether a field that is not computed has a value with which it says nothing.
fn changes_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        // `logprobs: 0` of a completion asks for those of the tokens that were chosen.
        Value::Number(number) => {
            name != "logprobs" && (number.as_f64() == Some(0.0) || name == "best_of" && number.as_f64() == Some(1.0))
        }
        Value::Object(fields) => {
            fields.is_empty() || name == "response_format" && fields.get("type").is_some_and(|t| t == "text")
        }
        Value::Array(entries) => entries.is_empty(),
        Value::String(text) => text.is_empty() || text == "none",
        Value::Null => true,
    }
}

fn wrong(field: &str, wanted: &str) -> Problem {
    Problem::input(format!("{field} is not {wanted}"))
        .at(field)
        .next(format!("send {field} as OpenAI's interface has it"))
}

/// Fields of a body. One that is null is not there.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Problem> {
        self.get(name).map(|value| value.as_f64().ok_or_else(|| wrong(name, "a number"))).transpose()
    }

    fn whole(&self, name: &str) -> Result<Option<usize>, Problem> {
        let whole = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        self.get(name).map(|value| whole(value).ok_or_else(|| wrong(name, "a whole number from 0"))).transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong(name, "true or false"))).transpose()
    }

    fn list(&self, name: &str) -> Result<Option<Vec<Value>>, Problem> {
        self.get(name).map(|value| value.as_array().cloned().ok_or_else(|| wrong(name, "a list"))).transpose()
    }

    fn stop(&self) -> Result<Vec<String>, Problem> {
        let text =
            |value: &Value| value.as_str().map(String::from).ok_or_else(|| wrong("stop", "a text, or a list of texts"));
        match self.get("stop") {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(text).collect(),
            Some(one) => Ok(vec![text(one)?]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(form: Form, fields: Value) -> Result<Asked, Problem> {
        let mut body = json!({"model": "m"});
        let own = match form {
            Form::Chat => json!({"messages": [{"role": "user", "content": "a"}]}),
            Form::Completion => json!({"prompt": "a"}),
        };
        for (name, value) in own.as_object().unwrap().iter().chain(fields.as_object().unwrap()) {
            body[name] = value.clone();
        }
        Asked::read(body.to_string().as_bytes(), form, 7)
    }

    #[test]
    fn what_a_body_leaves_out_is_as_openai_has_it() {
        let chat = read(Form::Chat, json!({})).unwrap();
        let GenerateRequest { temperature, top_p, max_tokens, seed, .. } = chat.request;
        assert_eq!((temperature, top_p, max_tokens, seed, chat.stream), (1.0, 1.0, usize::MAX, 7, false));
        assert_eq!(read(Form::Completion, json!({"max_tokens": null})).unwrap().request.max_tokens, 16);
        let set = json!({"max_tokens": 3, "max_completion_tokens": 4, "seed": -1, "stop": "x", "n": 1, "stream": true,
            "temperature": 0, "logprobs": false, "response_format": {"type": "text"}, "frequency_penalty": 0.0,
            "stream_options": {"include_usage": true}, "user": "u", "tools": [], "tool_choice": "auto"});
        let Asked { request, stream, with_usage, .. } = read(Form::Chat, set).unwrap();
        assert_eq!((request.max_tokens, request.seed, request.temperature), (4, u64::MAX, 0.0));
        assert_eq!((request.stop, stream, with_usage), (vec!["x".to_string()], true, true));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (form, fields, at) in [
            (Form::Chat, json!({"n": 2}), "n"),
            (Form::Chat, json!({"logprobs": true}), "logprobs"),
            (Form::Completion, json!({"logprobs": 0}), "logprobs"),
            (Form::Chat, json!({"logit_bias": {"5": 1}}), "logit_bias"),
            (Form::Chat, json!({"presence_penalty": 0.5}), "presence_penalty"),
            (Form::Chat, json!({"response_format": {"type": "json_object"}}), "response_format"),
            (Form::Completion, json!({"echo": true}), "echo"),
            (Form::Completion, json!({"best_of": 3}), "best_of"),
            (Form::Completion, json!({"prompt": ["a", "b"]}), "prompt"),
            (Form::Completion, json!({"prompt": [1, 2]}), "prompt"),
            (Form::Chat, json!({"tool_choice": "required"}), "tool_choice"),
            (Form::Chat, json!({"tool_choice": {"type": "function"}}), "tool_choice"),
            (Form::Chat, json!({"messages": "hi"}), "messages"),
            (Form::Chat, json!({"messages": []}), "messages"),
            (Form::Chat, json!({"temperature": "hot"}), "temperature"),
            (Form::Chat, json!({"temperature": -1}), "temperature"),
            (Form::Chat, json!({"top_p": 1.5}), "top_p"),
            (Form::Chat, json!({"max_tokens": -1}), "max_tokens"),
            (Form::Chat, json!({"max_tokens": 0}), "max_tokens"),
            (Form::Chat, json!({"stop": [1]}), "stop"),
            (Form::Chat, json!({"seed": 0.5}), "seed"),
            (Form::Chat, json!({"stream": "yes"}), "stream"),
            (Form::Chat, json!({"model": 3}), "model"),
        ] {
            let problem = read(form, fields.clone()).unwrap_err();
            assert_eq!(problem.at, at, "{fields}: {problem:?}");
        }
        for body in ["", "[]", "{", "\u{feff}{}"] {
            assert!(Asked::read(body.as_bytes(), Form::Chat, 0).is_err(), "{body:?}");
        }
    }
}
