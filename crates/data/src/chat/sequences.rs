//! A conversation as its chat template writes it, in parts: which of it is asked, and which is answered and learned.

use std::ops::Range;

use serde_json::Value as Json;
use stratune_protocol::Problem;

use super::{Ask, Chat, MARK, refused};
use crate::jinja::{MARKS, Rendered};
use crate::{Conversation, Role, Turn, row::name_of, template::Segment};

/// What a model is asked, and what it answers.
struct Exchange {
    /// The text up to where the answer begins.
    asked: String,
    /// The answer with the token that ends it.
    answer: String,
    /// The parts of the answer that are generated, in bytes; none where the template does not say, and all of it is.
    generated: Option<Vec<Range<usize>>>,
}

impl Chat {
    /// The parts of a conversation that ends with an answer. Where the template keeps earlier text as it is when turns are
    /// added, they are one sequence; else each answer has its own, as the model sees it when it answers. Where all is
    /// learned, and not only answers, that is the text before the last answer, and the answer.
    pub(crate) fn sequences(&self, talk: &Conversation) -> Result<Vec<Vec<Segment>>, Problem> {
        let Conversation { turns, tools } = talk;
        if self.is_marked && turns.iter().any(|turn| turn.content.contains(MARKS)) {
            return Err(refused(format!("a text has {:?} or {:?}, which have a meaning here", MARKS[0], MARKS[1])));
        }
        let all = talk.is_label_throughout();
        let context = |text: String| Segment { text, is_label: all, then_eos: false };
        let mut sequences: Vec<Vec<Segment>> = Vec::new();
        let mut done = String::new();
        for (t, turn) in turns.iter().enumerate().filter(|(_, turn)| turn.role == Role::Assistant) {
            let Exchange { asked, answer, generated } = self.exchange(&turns[..=t], tools)?;
            if let Some(call) = turn.calls().iter().map(name_of).find(|name| !answer.contains(name)) {
                return Err(refused(format!("the chat template leaves out that the tool '{call}' is called")));
            }
            if let Some(tool) = tools.iter().map(name_of).find(|name| !asked.contains(name)) {
                return Err(refused(format!("the chat template leaves out that there is the tool '{tool}'")));
            }
            let whole = format!("{asked}{answer}");
            let answer = match generated.filter(|_| !all) {
                Some(generated) => marked(&answer, &generated, turn.is_label),
                None => {
                    // A template that ends answers in a way of its own still has to end the last one as generation does.
                    let then_eos = t + 1 == turns.len() && !self.is_ended(&answer);
                    vec![Segment::answer(answer, turn.is_label, then_eos)]
                }
            };
            match (sequences.last_mut(), asked.strip_prefix(done.as_str())) {
                (Some(last), Some(new)) => last.push(context(new.into())),
                _ => sequences.push(vec![context(asked)]),
            }
            sequences.last_mut().into_iter().for_each(|last| last.extend(answer.clone()));
            done = whole;
        }
        if all {
            sequences.drain(..sequences.len().saturating_sub(1));
        }
        sequences.retain(|segments| segments.iter().any(|segment| segment.is_label));
        match sequences.is_empty() {
            true => Err(refused("the chat template marks nothing of it as generated".into())),
            false => Ok(sequences),
        }
    }

    /// Whether the template has ended an answer: with the token that ends answers, the end of a text, or another special
    /// token, as after the call of a tool.
    fn is_ended(&self, answer: &str) -> bool {
        let answer = answer.trim_end();
        let ends = self.end.iter().chain(self.special.get("eos_token")).chain(&self.special_tokens);
        ends.filter(|end| !end.is_empty()).any(|end| answer.ends_with(end.as_str()))
    }

    /// The last turn as a question and its answer.
    fn exchange(&self, turns: &[Turn], tools: &[Json]) -> Result<Exchange, Problem> {
        let Some((answer, before)) = turns.split_last() else { return Err(refused("nothing is said".into())) };
        let whole = self.render(turns, tools, Ask::No)?;
        // The second is an answer that thinks first.
        for ask in [Ask::Briefly, Ask::Yes] {
            let asked = self.render(before, tools, ask)?.text;
            if whole.text.starts_with(&asked) {
                return Ok(self.divided(whole, asked.len()));
            }
        }
        // The template writes what was before otherwise once it is answered: the answer is where another would be.
        let asked = self.render(before, tools, Ask::Briefly)?.text;
        let marked: Vec<Turn> = before.iter().cloned().chain([Turn::new(Role::Assistant, MARK)]).collect();
        let marked = self.render(&marked, tools, Ask::No)?.text;
        let Some((until, after)) = marked.rsplit_once(MARK) else {
            return Err(refused("the chat template leaves the answer out".into()));
        };
        if whole.text.starts_with(until) {
            return Ok(Exchange { asked, ..self.divided(whole, until.len()) });
        }
        let answer = format!("{}{}", answer.content, self.through_end(after));
        Ok(Exchange { asked, answer, generated: None })
    }

    /// A conversation as a question and its answer, which begins at this byte.
    fn divided(&self, whole: Rendered, at: usize) -> Exchange {
        let text = &whole.text[at..];
        let answer = self.through_end(text);
        let (mut end, mut generated) = (answer.len(), None);
        if self.is_marked {
            // Of a part that begins before the answer, as with the assistant's name, what is asked for stays as it is.
            let parts = whole.generated.iter().filter(|part| part.end > at);
            let parts: Vec<_> = parts.map(|part| part.start.saturating_sub(at)..part.end - at).collect();
            end = parts.last().map_or(end, |last| last.end.max(end));
            generated = Some(parts);
        }
        Exchange { asked: whole.text[..at].into(), answer: text[..end].into(), generated }
    }

    /// The text up to the token that ends an answer; all of it if there is none.
    fn through_end<'a>(&self, text: &'a str) -> &'a str {
        match self.end().and_then(|end| text.rfind(end).map(|at| at + end.len())) {
            Some(through) => &text[..through],
            None => text,
        }
    }
}

/// An answer in parts, of which those that are generated may be labels.
fn marked(answer: &str, generated: &[Range<usize>], is_label: bool) -> Vec<Segment> {
    let (mut segments, mut at) = (Vec::new(), 0);
    for part in generated {
        segments.push(Segment::context(answer[at..part.start].into()));
        segments.push(Segment::answer(answer[part.clone()].into(), is_label, false));
        at = part.end;
    }
    segments.push(Segment::context(answer[at..].into()));
    segments.retain(|segment| !segment.text.is_empty());
    segments
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{chat, pair, turns};
    use super::*;

    /// Sequences as text, labels in brackets, `|` where the end token is added.
    fn shown(source: &str, turns: &Conversation) -> Vec<String> {
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
        talk.turns[1].is_label = false;
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
        unlabelled.turns[1].is_label = false;
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

    /// What transformers renders, of templates as known models have them; `make_chats.py` says how they are made.
    fn are_as_transformers_has_them(cases: &str, template: &dyn Fn(&str) -> String) {
        let cases: Vec<Json> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() > 20);
        for case in &cases {
            let name = case["template"].as_str().unwrap();
            let messages = case["messages"].as_array().unwrap().iter();
            let turns = messages.map(|message| crate::message::turn(message, &mut |_| {}).unwrap()).collect();
            let talk = Conversation { turns, tools: case["tools"].as_array().unwrap().clone() };
            let found = chat(&template(name)).sequences(&talk);
            let Some(wanted) = case["sequences"].as_array() else {
                assert!(found.is_err(), "{name}: {found:?}");
                continue;
            };
            let found: Vec<Json> = found.unwrap().iter().map(|segments| joined(segments)).collect();
            assert_eq!(&found, wanted, "{name}: {}", case["messages"]);
        }
    }

    /// Neighbours of one kind as one, up to the last that is a label.
    fn joined(segments: &[Segment]) -> Json {
        let mut out: Vec<(String, bool)> = Vec::new();
        for Segment { text, is_label, then_eos } in segments {
            assert!(!then_eos, "{text}");
            match out.last_mut() {
                Some((before, kind)) if kind == is_label => before.push_str(text),
                _ if text.is_empty() => {}
                _ => out.push((text.clone(), *is_label)),
            }
        }
        out.truncate(out.iter().rposition(|(_, is_label)| *is_label).map_or(0, |last| last + 1));
        serde_json::to_value(out).unwrap()
    }

    #[test]
    fn conversations_are_what_transformers_makes_of_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/chats");
        let cases = std::fs::read_to_string(format!("{folder}/expected.json")).unwrap();
        are_as_transformers_has_them(&cases, &|name| std::fs::read_to_string(format!("{folder}/{name}")).unwrap());
    }

    #[test]
    fn all_of_a_conversation_may_be_learned() {
        use Role::{Assistant as A, User as U};
        let mut talk = turns(&[(U, "a"), (A, "b"), (U, "c"), (A, "d")]);
        talk.turns.iter_mut().for_each(|turn| turn.is_label = true);
        let (start, end) = ("<|im_start|>", "<|im_end|>");
        let first = format!("[{start}user\na{end}\n{start}assistant\n][b{end}]");
        assert_eq!(shown(CHATML, &talk), [format!("{first}[\n{start}user\nc{end}\n{start}assistant\n][d{end}]")]);
        talk.turns[1].is_label = false;
        let first = first.replace(&format!("[b{end}]"), &format!("b{end}"));
        assert_eq!(shown(CHATML, &talk), [format!("{first}[\n{start}user\nc{end}\n{start}assistant\n][d{end}]")]);
        // Of a text that is rewritten, the last.
        let source = "{% for m in messages %}{{ messages | length }}{{ m.content }}{{ eos_token }}{% endfor %}";
        talk.turns[1].is_label = true;
        assert_eq!(shown(source, &talk).len(), 1);
    }

    #[test]
    fn characters_that_mark_what_is_generated_are_refused() {
        let source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
        assert_eq!(shown(source, &pair()), [" q<1>[a]"]);
        let problem = chat(source).sequences(&turns(&[(Role::Assistant, "\u{10fffc}")])).unwrap_err();
        assert!(problem.what.contains("10fffc"), "{problem:?}");
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
    }
}
