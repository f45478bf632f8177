//! How a conversation becomes text for a model without a chat template.

use crate::{Role, Turn, template::Segment};

/// The prompt as rows have it, ready to be continued.
pub(crate) fn prompt(instruction: &str) -> String {
    format!("{instruction}{}", separator(instruction, ""))
}

/// The parts of a conversation up to where the answer begins.
pub(crate) fn ask(turns: &[Turn]) -> Vec<Segment> {
    let answered: Vec<Turn> = turns.iter().cloned().chain([Turn::new(Role::Assistant, "")]).collect();
    let mut segments = segments(&answered);
    segments.pop();
    segments
}

/// The parts of a conversation that ends with an assistant's turn: prompt and answer, or who said what line by line.
pub(crate) fn segments(turns: &[Turn]) -> Vec<Segment> {
    let talk: Vec<&Turn> = turns.iter().filter(|turn| turn.role != Role::System).collect();
    let all = turns.iter().any(|turn| turn.is_label && turn.role != Role::Assistant);
    let context = |text: String| Segment { text, is_label: all, then_eos: false };
    let lone = match talk.as_slice() {
        [answer] if answer.role == Role::Assistant => Some(("", answer)),
        [user, answer] if user.role == Role::User && answer.role == Role::Assistant => {
            Some((user.content.as_str(), answer))
        }
        _ => None,
    };
    if let Some((prompt, answer)) = lone {
        let system: String =
            turns.iter().filter(|turn| turn.role == Role::System).map(|turn| format!("{}\n\n", turn.content)).collect();
        let asked = format!("{system}{prompt}{}", separator(prompt, &answer.content));
        return vec![context(asked), Segment::answer(answer.content.clone(), answer.is_label, true)];
    }
    let mut segments = Vec::new();
    let mut before = String::new();
    for turn in turns {
        match turn.role {
            Role::System => before += &format!("{}\n\n", turn.content),
            // What a tool gives back is not written without a chat template.
            Role::User | Role::Tool => before += &format!("User: {}\n", turn.content),
            Role::Assistant => {
                segments.push(context(before + "Assistant:"));
                // The space belongs to the answer: that is how tokenizers join it to the first word.
                segments.push(Segment::answer(format!(" {}", turn.content), turn.is_label, true));
                before = "\n".into();
            }
        }
    }
    segments
}

/// A line break between prompt and completion, unless they are apart already.
fn separator(prompt: &str, completion: &str) -> &'static str {
    let apart =
        prompt.is_empty() || prompt.ends_with(char::is_whitespace) || completion.starts_with(char::is_whitespace);
    if apart { "" } else { "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in brackets, `|` where the end token goes.
    fn shown(turns: &[(Role, &str)]) -> String {
        let turns: Vec<_> = turns.iter().map(|&(role, content)| Turn::new(role, content)).collect();
        let show = |segment: Segment| match (segment.is_label, segment.then_eos) {
            (true, eos) => format!("[{}{}]", segment.text, if eos { "|" } else { "" }),
            (false, _) => segment.text,
        };
        segments(&turns).into_iter().map(show).collect()
    }

    #[test]
    fn conversations_become_text() {
        use Role::{Assistant as A, System as S, User as U};
        let cases: [(&[(Role, &str)], &str); 6] = [
            (&[(U, "hi"), (A, "ho")], "hi\n[ho|]"),
            (&[(U, "hi "), (A, "ho")], "hi [ho|]"),
            (&[(U, "hi"), (A, " ho")], "hi[ ho|]"),
            (&[(S, "be kind"), (U, "hi"), (A, "ho")], "be kind\n\nhi\n[ho|]"),
            (&[(A, "ho")], "[ho|]"),
            (
                &[(S, "s"), (U, "a"), (A, "b"), (U, "c"), (A, "d")],
                "s\n\nUser: a\nAssistant:[ b|]\nUser: c\nAssistant:[ d|]",
            ),
        ];
        for (turns, text) in cases {
            assert_eq!(shown(turns), text);
        }
        let mut turns = [(U, "a"), (A, "b"), (U, "c"), (A, "d")].map(|(role, text)| Turn::new(role, text));
        turns[1].is_label = false;
        let ends: Vec<_> = segments(&turns).iter().map(|segment| (segment.is_label, segment.then_eos)).collect();
        assert_eq!(ends, [(false, false), (false, true), (false, false), (true, true)]);
    }

    #[test]
    fn a_lone_prompt_is_what_a_row_begins_with() {
        for (instruction, text) in [("hi", "hi\n"), ("hi\n", "hi\n"), ("", "")] {
            assert_eq!(prompt(instruction), text);
        }
    }
}
