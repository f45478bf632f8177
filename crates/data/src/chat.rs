//! Chat templates: the Jinja text beside a tokenizer that turns a conversation into one string.

use std::collections::BTreeMap;

use minijinja::{Environment, Error, ErrorKind, Value, context, syntax::SyntaxConfig, value::Kwargs};
use serde::Serialize;
use stratune_protocol::Problem;

use crate::{Role, Turn, row::line_feeds, template::Segment};

/// The name a template has in its environment; without an ending, so that nothing is escaped.
const NAME: &str = "chat";

/// What stands for an answer to find where the template puts it: a character that no text has.
const MARK: &str = "\u{f8ff}";

/// What "today" is in every template: a run must not depend on the day. Llama 3's templates name it where there is no clock.
const TODAY: [(&str, &str); 14] = [
    ("%Y", "2024"),
    ("%y", "24"),
    ("%m", "07"),
    ("%d", "26"),
    ("%e", "26"),
    ("%j", "208"),
    ("%B", "July"),
    ("%b", "Jul"),
    ("%A", "Friday"),
    ("%a", "Fri"),
    ("%H", "12"),
    ("%I", "12"),
    ("%M", "00"),
    ("%S", "00"),
];

/// A compiled chat template.
#[derive(Debug)]
pub(crate) struct Chat {
    environment: Environment<'static>,
    /// How special tokens are written, by their names in the template, such as `bos_token`.
    special: BTreeMap<String, String>,
    /// The token that ends an answer, if the template writes one.
    end: Option<String>,
}

impl Chat {
    /// Compiles a template. `special` are the names of special tokens and how they are written, `added` the tokens of which
    /// one may end an answer.
    pub(crate) fn compile(source: &str, special: BTreeMap<String, String>, added: &[String]) -> Result<Self, Problem> {
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
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, without_generation_tags(&line_feeds(source))).map_err(bad)?;
        let mut chat = Self { environment, special, end: None };
        chat.end = chat.find_end(added);
        Ok(chat)
    }

    /// The token that ends an answer, if the template writes one.
    pub(crate) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// The token that follows an answer, spaces aside; none if the template refuses a lone question with its answer.
    fn find_end(&self, added: &[String]) -> Option<String> {
        let whole = self.render(&[Turn::new(Role::User, "a"), Turn::new(Role::Assistant, MARK)], Ask::No).ok()?;
        let (_, after) = whole.rsplit_once(MARK)?;
        let fitting = added.iter().filter(|token| after.trim_start().starts_with(token.as_str()));
        fitting.max_by_key(|token| token.len()).cloned()
    }

    /// A lone question, up to where the answer begins.
    pub(crate) fn prompt(&self, instruction: &str) -> Result<String, Problem> {
        self.render(&[Turn::new(Role::User, instruction)], Ask::Briefly)
    }

    /// The parts of a conversation that ends with an answer. Where the template keeps earlier text as it is when turns are
    /// added, they are one sequence; else each answer has its own, as the model sees it when it answers.
    pub(crate) fn sequences(&self, turns: &[Turn]) -> Result<Vec<Vec<Segment>>, Problem> {
        let mut sequences: Vec<Vec<Segment>> = Vec::new();
        let mut done = String::new();
        for (t, turn) in turns.iter().enumerate().filter(|(_, turn)| turn.role == Role::Assistant) {
            let (asked, answer) = self.asked_and_answered(&turns[..=t])?;
            // A template that ends answers in a way of its own still has to end the last one as generation does.
            let ended = |end: &str| !end.is_empty() && answer.trim_end().ends_with(end);
            let eos = self.special.get("eos_token").map_or("", String::as_str);
            let then_eos = t + 1 == turns.len() && !self.end().is_some_and(ended) && !ended(eos);
            let whole = format!("{asked}{answer}");
            let segment = Segment::answer(answer, turn.is_label, then_eos);
            match (sequences.last_mut(), asked.strip_prefix(done.as_str())) {
                (Some(last), Some(new)) => last.extend([Segment::context(new.into()), segment]),
                _ => sequences.push(vec![Segment::context(asked), segment]),
            }
            done = whole;
        }
        sequences.retain(|segments| segments.iter().any(|segment| segment.is_label));
        Ok(sequences)
    }

    /// The text up to where the last turn's answer begins, and the answer with the token that ends it.
    fn asked_and_answered(&self, turns: &[Turn]) -> Result<(String, String), Problem> {
        let Some((answer, before)) = turns.split_last() else { return Ok(Default::default()) };
        let whole = self.render(turns, Ask::No)?;
        let asked = self.render(before, Ask::Briefly)?;
        if let Some(rest) = whole.strip_prefix(&asked) {
            return Ok((asked, self.through_end(rest).into()));
        }
        // An answer that thinks first.
        let thinking = self.render(before, Ask::Yes)?;
        if let Some(rest) = whole.strip_prefix(&thinking) {
            return Ok((thinking, self.through_end(rest).into()));
        }
        // The template writes what was before otherwise once it is answered.
        let marked: Vec<Turn> = before.iter().cloned().chain([Turn::new(Role::Assistant, MARK)]).collect();
        match self.render(&marked, Ask::No)?.rsplit_once(MARK) {
            Some((_, after)) => Ok((asked, format!("{}{}", answer.content, self.through_end(after)))),
            None => Err(refused("the chat template leaves the answer out".into())),
        }
    }

    /// The text up to the token that ends an answer; all of it if there is none.
    fn through_end<'a>(&self, text: &'a str) -> &'a str {
        match self.end().and_then(|end| text.rfind(end).map(|at| at + end.len())) {
            Some(through) => &text[..through],
            None => text,
        }
    }

    fn render(&self, turns: &[Turn], ask: Ask) -> Result<String, Problem> {
        let message = |turn: &Turn| context! { role => turn.role.name(), content => turn.content.as_str() };
        let messages: Vec<Value> = turns.iter().map(message).collect();
        let special = self.special.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        let own = [
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(ask != Ask::No)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        // Templates that do not know it pay no heed.
        let brief = (ask != Ask::Yes).then(|| ("enable_thinking", Value::from(false)));
        let values = Value::from(special.chain(own).chain(brief).collect::<BTreeMap<_, _>>());
        self.environment.get_template(NAME).and_then(|template| template.render(values)).map_err(|error| {
            let why = error.detail().map_or_else(|| error.to_string(), str::to_owned);
            refused(format!("the chat template refuses it: {why}"))
        })
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

/// How a template asks for the date.
fn strftime_now(format: String) -> String {
    TODAY.iter().fold(format.replace("%-", "%"), |text, (sign, value)| text.replace(sign, value))
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
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, text)| (name.into(), text.into()));
        let added = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|im_end|>x", "<end_of_turn>", "<|end|>"];
        Chat::compile(source, special.into(), &added.map(String::from)).unwrap()
    }

    fn turns(said: &[(Role, &str)]) -> Vec<Turn> {
        said.iter().map(|&(role, text)| Turn::new(role, text)).collect()
    }

    fn pair() -> Vec<Turn> {
        turns(&[(Role::User, " q<1>"), (Role::Assistant, "a")])
    }

    /// Sequences as text, labels in brackets, `|` where the end token is added.
    fn shown(source: &str, turns: &[Turn]) -> Vec<String> {
        let show = |segment: &Segment| match segment.is_label {
            true => format!("[{}{}]", segment.text, if segment.then_eos { "|" } else { "" }),
            false => segment.text.clone(),
        };
        let sequences = chat(source).sequences(turns).unwrap();
        sequences.iter().map(|segments| segments.iter().map(show).collect()).collect()
    }

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

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
            assert_eq!(chat(source).render(&pair(), Ask::Briefly).unwrap(), text, "{source}");
        }
    }

    #[test]
    fn the_end_token_is_added_only_where_the_template_writes_none() {
        let cases = [
            ("", "[a|]"),
            ("</s>", "[a</s>]"),
            ("</s>\n\n", "[a</s>]"),
            ("</s>.", "[a</s>]"),
            (" <end_of_turn>\n", "[a <end_of_turn>]"),
            ("<|end|>\n{% if not add_generation_prompt %}</s>{% endif %}", "[a<|end|>]"),
            ("<|im_end|>x", "[a<|im_end|>x]"),
            (".\n", "[a.\n|]"),
        ];
        for (end, answer) in cases {
            let source =
                "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}END{% endif %}{% endfor %}"
                    .replace("END", end);
            assert_eq!(shown(&source, &pair()), [format!(" q<1>{answer}")], "{end:?}");
        }
    }

    #[test]
    fn what_follows_the_end_of_an_answer_is_no_label() {
        use Role::{Assistant as A, User as U};
        let mut talk = turns(&[(U, "a"), (A, "b<|im_end|>"), (U, "c"), (A, "d")]);
        let (start, end) = ("<|im_start|>", "<|im_end|>");
        let first = format!("{start}user\na{end}\n{start}assistant\n");
        let second = format!("\n{start}user\nc{end}\n{start}assistant\n[d{end}]");
        assert_eq!(shown(CHATML, &talk), [format!("{first}[b{end}{end}]{second}")]);
        talk[1].is_label = false;
        assert_eq!(shown(CHATML, &talk), [format!("{first}b{end}{end}{second}")]);
        assert_eq!((chat(CHATML).end(), chat("{{ messages }}").end()), (Some(end), None));
    }

    /// As Qwen3's template: thoughts are dropped from all answers but the last, which gets an empty one if it has none.
    #[test]
    fn a_template_that_drops_thoughts_gives_a_sequence_for_each_answer() {
        use Role::{Assistant as A, User as U};
        let source = "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' and loop.last %}<think>{% endif %}\
            {% if m.role == 'assistant' and '</think>' not in m.content and loop.last %}</think>{% endif %}\
            {{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}\
            {% if add_generation_prompt %}assistant:\
            {% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}";
        assert_eq!(
            shown(source, &turns(&[(U, "a"), (A, "b"), (U, "c"), (A, "d")])),
            [
                "user:a<|im_end|>\nassistant:<think></think>[b<|im_end|>]",
                "user:a<|im_end|>\nassistant:b<|im_end|>\nuser:c<|im_end|>\nassistant:<think></think>[d<|im_end|>]",
            ]
        );
        assert_eq!(
            shown(source, &turns(&[(U, "a"), (A, "t</think>b")])),
            ["user:a<|im_end|>\nassistant:[<think>t</think>b<|im_end|>]"]
        );
        let mut unlabelled = turns(&[(U, "a"), (A, "b"), (U, "c"), (A, "d")]);
        unlabelled[1].is_label = false;
        assert_eq!(shown(source, &unlabelled).len(), 1);
    }

    /// As Mistral Nemo's template: the system text is there only while the user has the last word.
    #[test]
    fn a_template_that_drops_the_system_text_keeps_it_before_the_answer() {
        use Role::{Assistant as A, System as S, User as U};
        let source = "{% for m in messages %}{% if m.role == 'system' %}{% if messages[-1].role == 'user' %}({{ m.content }})\
            {% endif %}{% else %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endif %}{% endfor %}";
        assert_eq!(shown(source, &turns(&[(S, "s"), (U, "a"), (A, "b")])), ["(s)a[b</s>]"]);
    }

    #[test]
    fn refusals_say_why() {
        let cases = [
            ("{{ raise_exception('only one turn') }}", "only one turn"),
            ("{{ messages | length }}", "leaves the answer out"),
        ];
        for (source, why) in cases {
            let problem = chat(source).sequences(&pair()).unwrap_err();
            assert!(problem.what.contains(why), "{problem:?}");
        }
        assert!(Chat::compile("{% if %}", BTreeMap::new(), &[]).unwrap_err().what.contains("cannot be used"));
    }
}
