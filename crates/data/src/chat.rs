//! Chat templates: the Jinja text beside a tokenizer that turns a conversation into one string.

use minijinja::{Environment, Error, ErrorKind, Value, context, syntax::SyntaxConfig, value::Kwargs};
use serde::Serialize;
use stratune_protocol::Problem;

use crate::{Role, Turn, template::Segment};

/// The name a template has in its environment; without an ending, so that nothing is escaped.
const NAME: &str = "chat";

/// A compiled chat template.
#[derive(Debug)]
pub(crate) struct Chat {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Chat {
    /// Compiles a template; `bos` and `eos` are how the special tokens are written.
    pub(crate) fn compile(source: &str, bos: String, eos: String) -> Result<Self, Problem> {
        let bad = |error: Error| {
            Problem::input(format!("the chat template cannot be used: {error}"))
                .at("tokenizer_config.json, chat_template")
                .next("mend the chat template, or remove it to train on plain prompts and answers")
        };
        let mut environment = Environment::new();
        // The settings that checkpoints' templates are written for.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(bad)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, without_generation_tags(source)).map_err(bad)?;
        Ok(Self { environment, bos, eos })
    }

    /// A lone question, up to where the answer begins.
    pub(crate) fn prompt(&self, instruction: &str) -> Result<String, Problem> {
        self.render(&[Turn::new(Role::User, instruction)], true)
    }

    /// The parts of a conversation: an answer is what the text grows by when its turn is added.
    pub(crate) fn segments(&self, turns: &[Turn]) -> Result<Vec<Segment>, Problem> {
        let mut segments = Vec::new();
        let mut done = String::new();
        for (t, _) in turns.iter().enumerate().filter(|(_, turn)| turn.role == Role::Assistant) {
            let context = self.render(&turns[..t], true)?;
            let whole = self.render(&turns[..=t], false)?;
            let (Some(asked), Some(answer)) =
                (context.strip_prefix(done.as_str()), whole.strip_prefix(context.as_str()))
            else {
                return Err(refused("the chat template rewrites earlier text when an answer is added".into()));
            };
            // A template that ends turns in a way of its own still has to end the last one as generation does.
            let last = t + 1 == turns.len();
            let then_eos = last && (self.eos.is_empty() || !answer.trim_end().ends_with(&self.eos));
            segments.push(Segment::context(asked.into()));
            segments.push(Segment::answer(answer.into(), then_eos));
            done = whole;
        }
        Ok(segments)
    }

    fn render(&self, turns: &[Turn], add_generation_prompt: bool) -> Result<String, Problem> {
        let message = |turn: &Turn| context! { role => turn.role.name(), content => turn.content.as_str() };
        let messages: Vec<Value> = turns.iter().map(message).collect();
        let values = context! {
            messages, add_generation_prompt, bos_token => self.bos.as_str(), eos_token => self.eos.as_str(), tools => (), documents => (),
        };
        self.environment.get_template(NAME).and_then(|template| template.render(values)).map_err(|error| {
            let why = error.detail().map_or_else(|| error.to_string(), str::to_owned);
            refused(if error.kind() == ErrorKind::UnknownFunction && why.contains("strftime_now") {
                "the chat template asks for today's date, and a run must not depend on the day".into()
            } else {
                format!("the chat template refuses it: {why}")
            })
        })
    }
}

fn refused(what: String) -> Problem {
    Problem::input(what)
        .at("tokenizer_config.json, chat_template")
        .next("change the row, or remove the chat template to train on plain prompts and answers")
}

/// Marks of the answer that some templates carry; here it is found without them.
fn without_generation_tags(source: &str) -> String {
    let mut source = source.to_owned();
    for open in ["{%", "{%-"] {
        for close in ["%}", "-%}"] {
            for (tag, instead) in [("generation", "if true"), ("endgeneration", "endif")] {
                source = source.replace(&format!("{open} {tag} {close}"), &format!("{open} {instead} {close}"));
            }
        }
    }
    source
}

/// How a template refuses a conversation.
fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// JSON as Python writes it, without the escapes for web pages.
fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let bad = |error| Error::new(ErrorKind::InvalidOperation, format!("no JSON: {error}"));
    let indent = " ".repeat(options.get::<Option<usize>>("indent")?.unwrap_or(0).min(16));
    let mut bytes = Vec::new();
    if indent.is_empty() {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)).map_err(bad)?;
    } else {
        let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, pretty)).map_err(bad)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One line, a space after each separator.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chat(source: &str) -> Chat {
        Chat::compile(source, "<s>".into(), "</s>".into()).unwrap()
    }

    fn pair() -> [Turn; 2] {
        [Turn::new(Role::User, " q<1>"), Turn::new(Role::Assistant, "a")]
    }

    #[test]
    fn templates_render_as_python_renders_them() {
        let cases = [
            ("{{ bos_token }}{{ messages[0]['content'].strip().upper() }}", "<s>Q<1>"),
            ("{{ messages[0].content | tojson }}", "\" q<1>\""),
            ("{{ {'a': [1, 2]} | tojson }}", "{\"a\": [1, 2]}"),
            ("{% if tools is none %}none{% endif %}\n", "none"),
            ("{{ 'now' if strftime_now is defined else 'never' }}", "never"),
            ("{%- generation -%} x {%- endgeneration -%}", "x"),
            ("{% if add_generation_prompt %}\n  {% set ns = namespace(a=1) %}\nb{{ ns.a }}{% endif %}", "b1"),
        ];
        for (source, text) in cases {
            assert_eq!(chat(source).render(&pair(), true).unwrap(), text, "{source}");
        }
    }

    #[test]
    fn the_end_token_is_added_only_where_the_template_lacks_it() {
        let cases = [("", true), ("</s>", false), ("</s>\n\n", false), ("</s>.", true)];
        for (end, then_eos) in cases {
            let source = "{% for m in messages %}{{ m.content }}END{% endfor %}".replace("END", end) + "{{ '' }}";
            let segments = chat(&source).segments(&pair()).unwrap();
            assert_eq!(segments[1], Segment::answer(format!("a{end}"), then_eos), "{end:?}");
        }
    }

    #[test]
    fn refusals_say_why() {
        let cases = [
            ("{{ raise_exception('only one turn') }}", "only one turn"),
            ("{{ strftime_now('%Y') }}", "today's date"),
            ("{{ messages | length }}", "rewrites"),
        ];
        for (source, why) in cases {
            let problem = chat(source).segments(&pair()).unwrap_err();
            assert!(problem.what.contains(why), "{problem:?}");
        }
        assert!(Chat::compile("{% if %}", String::new(), String::new()).unwrap_err().what.contains("cannot be used"));
    }
}
