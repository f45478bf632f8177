//! Chat templates: the Jinja text beside a tokenizer that turns a conversation into one string.

mod sequences;

use std::collections::BTreeMap;

use minijinja::{Environment, Error, Value, value::Serde};
use serde_json::Value as Json;
use stratune_protocol::Problem;

use crate::jinja::{self, Rendered};
use crate::{Conversation, Role, Turn};

/// What stands for an answer to find where the template puts it: a character that no text has.
const MARK: &str = "\u{f8ff}";

/// A compiled chat template.
#[derive(Debug)]
pub(crate) struct Chat {
    environment: Environment<'static>,
    /// Whether it says itself what is generated, by tags around it.
    is_marked: bool,
    /// How special tokens are written, by their names in the template, such as `bos_token`.
    special: BTreeMap<String, String>,
    /// The token that ends an answer, if the template writes one.
    end: Option<String>,
    /// The tokens that mean something else than their text.
    special_tokens: Vec<String>,
}

/// The chat templates in `tokenizer_config.json`: a text, or a list in which one is called `default`, and one for
/// conversations with tools perhaps `tool_use`.
pub(crate) fn sources(value: &Json) -> (Option<String>, Option<String>) {
    let named = |name: &str| value.as_array()?.iter().find(|entry| entry["name"] == name)?["template"].as_str();
    (value.as_str().or_else(|| named("default")).map(str::to_owned), named("tool_use").map(str::to_owned))
}

impl Chat {
    /// Compiles a template. `special` are the names of special tokens and how they are written, `added` the tokens of which
    /// one may end an answer, each with whether it is special.
    pub(crate) fn compile(
        source: &str,
        special: BTreeMap<String, String>,
        added: &[(String, bool)],
    ) -> Result<Self, Problem> {
        let bad = |error: Error| {
            Problem::input(format!("the chat template cannot be used: {error}"))
                .at("tokenizer_config.json, chat_template")
                .next("mend the chat template, or remove it to train on plain prompts and answers")
        };
        let (environment, is_marked) = jinja::environment(source).map_err(bad)?;
        let special_tokens =
            added.iter().filter(|(_, is_special)| *is_special).map(|(token, _)| token.clone()).collect();
        let mut chat = Self { environment, is_marked, special, end: None, special_tokens };
        chat.end = chat.find_end(added);
        Ok(chat)
    }

    /// The token that ends an answer, if the template writes one.
    pub(crate) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// The token that follows an answer, spaces aside; none if the template refuses a lone question with its answer.
    fn find_end(&self, added: &[(String, bool)]) -> Option<String> {
        let whole =
            self.render(&[Turn::new(Role::User, "a"), Turn::new(Role::Assistant, MARK)], &[], Ask::No).ok()?.text;
        let (_, after) = whole.rsplit_once(MARK)?;
        let fitting =
            added.iter().map(|(token, _)| token).filter(|token| after.trim_start().starts_with(token.as_str()));
        fitting.max_by_key(|token| token.len()).cloned()
    }

    /// A lone question, up to where the answer begins.
    pub(crate) fn prompt(&self, instruction: &str) -> Result<String, Problem> {
        Ok(self.render(&[Turn::new(Role::User, instruction)], &[], Ask::Briefly)?.text)
    }

    /// A conversation, up to where the answer begins.
    pub(crate) fn ask(&self, talk: &Conversation) -> Result<String, Problem> {
        let asked = self.render(&talk.turns, &talk.tools, Ask::Briefly).map(|rendered| rendered.text);
        asked.map_err(|problem| problem.next("change the messages to what the model's chat template takes"))
    }

    fn render(&self, turns: &[Turn], tools: &[Json], ask: Ask) -> Result<Rendered, Problem> {
        let message = |turn: &Turn| {
            let own = [("role", turn.role.name()), ("content", &turn.content)].map(|(k, v)| (k.into(), Value::from(v)));
            let beside = turn.beside.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value))));
            own.into_iter().chain(beside).collect::<BTreeMap<String, Value>>()
        };
        let messages: Vec<Value> = turns.iter().map(|turn| Value::from(message(turn))).collect();
        let special = self.special.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        let own = [
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(ask != Ask::No)),
            ("tools", if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) }),
            ("documents", Value::from(())),
        ];
        // Templates that do not know it pay no heed.
        let brief = (ask != Ask::Yes).then(|| ("enable_thinking", Value::from(false)));
        let values = Value::from(special.chain(own).chain(brief).collect::<BTreeMap<_, _>>());
        let rendered = self.environment.get_template(jinja::NAME).and_then(|template| template.render(values));
        let rendered = rendered.map_err(|error| {
            let why = error.detail().map_or_else(|| error.to_string(), str::to_owned);
            refused(format!("the chat template refuses it: {why}"))
        })?;
        Ok(if self.is_marked { Rendered::of(&rendered) } else { Rendered { text: rendered, generated: Vec::new() } })
    }
}

/// Whether an answer is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    No,
    /// One without thoughts before it, of templates that know such.
    Briefly,
    /// One as the template has it.
    Yes,
}

fn refused(what: String) -> Problem {
    Problem::input(what)
        .at("tokenizer_config.json, chat_template")
        .next("change the row, or remove the chat template to train on plain prompts and answers")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    pub(super) fn chat(source: &str) -> Chat {
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, text)| (name.into(), text.into()));
        let added = [
            "<s>",
            "</s>",
            "<|im_start|>",
            "<|im_end|>",
            "<|im_end|>x",
            "<end_of_turn>",
            "<|end|>",
            "<|eot|>",
            "<|eom|>",
            "<|eot_id|>",
            "<|eom_id|>",
            "<|end_of_text|>",
            "<|endoftext|>",
        ];
        Chat::compile(source, special.into(), &added.map(|token| (token.into(), true))).unwrap()
    }

    pub(super) fn turns(said: &[(Role, &str)]) -> Conversation {
        said.iter().map(|&(role, text)| Turn::new(role, text)).collect::<Vec<_>>().into()
    }

    pub(super) fn pair() -> Conversation {
        turns(&[(Role::User, " q<1>"), (Role::Assistant, "a")])
    }

    #[test]
    fn templates_render_as_python_renders_them() {
        let cases = [
            ("{{ bos_token }}{{ messages[0]['content'].strip().upper() }}", "<s>Q<1>"),
            ("{{ messages[0].content | tojson }}", "\" q<1>\""),
            ("{{ {'a': [1, 2]} | tojson }}", "{\"a\": [1, 2]}"),
            ("{% if tools is none %}none{% endif %}\n", "none"),
            ("{{ strftime_now('%d %b %Y, %A %-d %B') if strftime_now is defined }}", "26 Jul 2024, Friday 26 July"),
            ("{%- generation -%} x {%- endgeneration -%}", "x"),
            ("{% if add_generation_prompt %}\r\n  {% set ns = namespace(a=1) %}\r\nb{{ ns.a }}{% endif %}", "b1"),
        ];
        for (source, text) in cases {
            assert_eq!(chat(source).render(&pair().turns, &[], Ask::Briefly).unwrap().text, text, "{source}");
        }
    }

    #[test]
    fn a_template_that_is_none_is_refused() {
        assert!(Chat::compile("{% if %}", BTreeMap::new(), &[]).unwrap_err().what.contains("cannot be used"));
    }
}
