//! What was answered: out of a text, or by the likelihood of each choice.

use crate::item::{Item, LEAD, Label, Prediction};
use crate::task::Task;

/// How an answer is found in a text that a model wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The first of these words that occurs anywhere in the text, as LLM-Adapters has it: capitals matter, and a word may
    /// be part of another. A word that an item does not offer is an answer, and wrong.
    FirstWord(&'static [&'static str]),
    /// The last number of the text, commas left out, as LLM-Adapters has it.
    LastNumber,
    /// The first capital letter from A to E of the text, as LLM-Adapters has it.
    FirstLetter,
    /// The first of the item's answers that stands in the text as a word of its own; capitals matter only where two
    /// answers differ by nothing else. Of two that begin at one place, the longer.
    Named,
    /// The text itself, without the words before the answer.
    Text,
}

impl Task {
    /// How answers are found in text.
    pub fn answers(&self) -> Answers {
        self.answers
    }

    /// What a text that a model wrote answers to an item; none if it answers nothing.
    pub fn extract(&self, item: &Item, text: &str) -> Option<Prediction> {
        let text = text.trim();
        match self.answers {
            Answers::FirstWord(words) => first_word(text, words).map(Prediction::Choice),
            Answers::LastNumber => last_number(text).map(Prediction::Number),
            Answers::FirstLetter => first_letter(text).map(Prediction::Choice),
            Answers::Named => named(answered(text), item).map(Prediction::Choice),
            Answers::Text => {
                let text = answered(text).lines().next().unwrap_or_default().trim();
                (!text.is_empty()).then(|| Prediction::Text(text.to_owned()))
            }
        }
    }

    /// The choice whose continuation is likeliest, given log p(continuation | context) of each in their order; of equals
    /// the first. `normalised` divides by the continuation's length in characters without the space before it, which is
    /// what lm-evaluation-harness does where it calls an accuracy `acc_norm`. None if the item has no choices, or there
    /// are not as many numbers as choices.
    pub fn predict(&self, item: &Item, logprobs: &[f64], normalised: bool) -> Option<Prediction> {
        if logprobs.len() != item.choices.len() {
            return None;
        }
        let score = |(place, &logprob): (usize, &f64)| {
            let length = item.choices[place].continuation.trim_start().chars().count().max(1) as f64;
            let score = if normalised { logprob / length } else { logprob };
            (place, if score.is_nan() { f64::NEG_INFINITY } else { score })
        };
        let best =
            logprobs.iter().enumerate().map(score).reduce(|best, next| if next.1 > best.1 { next } else { best });
        let (place, _) = best?;
        Some(match item.label {
            Label::Text(_) => Prediction::Text(item.choices[place].answer.clone()),
            _ => Prediction::Choice(place),
        })
    }
}

/// Which of `words` occurs first.
fn first_word(text: &str, words: &[&str]) -> Option<usize> {
    let found = words.iter().enumerate().filter_map(|(place, word)| Some((text.find(word)?, place)));
    found.min().map(|(_, place)| place)
}

/// The first capital from A to E, A as 0.
pub(crate) fn first_letter(text: &str) -> Option<usize> {
    text.bytes().find(|byte| (b'A'..=b'E').contains(byte)).map(|byte| usize::from(byte - b'A'))
}

/// The last number as `-?\d+\.?\d*` finds it in a text without commas.
pub(crate) fn last_number(text: &str) -> Option<f64> {
    let text: Vec<u8> = text.bytes().filter(|&byte| byte != b',').collect();
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (mut at, mut last) = (0, None);
    while at < text.len() {
        let start = at;
        let whole = digits(at + usize::from(text[at] == b'-'));
        if whole == 0 {
            at += 1;
            continue;
        }
        at += usize::from(text[at] == b'-') + whole;
        if text.get(at) == Some(&b'.') {
            at += 1 + digits(at + 1);
        }
        last = std::str::from_utf8(&text[start..at]).ok().and_then(|number| number.parse().ok()).or(last);
    }
    last
}

/// A text without the words before the answer.
fn answered(text: &str) -> &str {
    let text = text.trim();
    match text.get(..LEAD.len()) {
        Some(lead) if lead.eq_ignore_ascii_case(LEAD) => text[LEAD.len()..].trim_start(),
        _ => text,
    }
}

/// Which of an item's answers stands first in the text.
fn named(text: &str, item: &Item) -> Option<usize> {
    let exact = || item.choices.iter().map(|choice| choice.answer.clone());
    first_named(text, exact())
        .or_else(|| first_named(&text.to_lowercase(), exact().map(|answer| answer.to_lowercase())))
}

fn first_named(text: &str, answers: impl Iterator<Item = String>) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let stands = |at: usize, answer: &str| {
        let (before, after) = (text[..at].chars().next_back(), text[at + answer.len()..].chars().next());
        let joined = |a: Option<char>, b: Option<char>| a.is_some_and(is_word) && b.is_some_and(is_word);
        !joined(before, answer.chars().next()) && !joined(answer.chars().next_back(), after)
    };
    let first = |answer: &str| text.match_indices(answer).map(|(at, _)| at).find(|&at| stands(at, answer));
    let found = answers
        .enumerate()
        .filter(|(_, answer)| !answer.is_empty())
        .filter_map(|(place, answer)| first(&answer).map(|at| (at, std::cmp::Reverse(answer.len()), place)));
    found.min().map(|(.., place)| place)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::item::Choice;
    use crate::task;

    fn item(answers: &[&str]) -> Item {
        let choices = answers.iter().map(|&answer| Choice::new(answer, "", answer)).collect();
        Item::choosing("", String::new(), choices, 0, &[])
    }

    /// What Python's `re.findall(r"-?\d+\.?\d*", text.replace(",", ""))[-1]` gives.
    #[test]
    fn the_last_number_is_pythons() {
        let cases = [
            ("The answer is 1,040.", Some(1040.0)),
            ("3 - 5 is -2, I think", Some(-2.0)),
            ("it is 5-3", Some(-3.0)),
            ("1.5.2", Some(2.0)),
            ("--7", Some(-7.0)),
            ("7-", Some(7.0)),
            ("costs $.5", Some(5.0)),
            ("é 4½", Some(4.0)),
            ("none", None),
            ("", None),
            ("-", None),
        ];
        for (text, expected) in cases {
            assert_eq!(last_number(text), expected, "{text}");
        }
    }

    #[test]
    fn the_first_word_counts_as_llm_adapters_has_it() {
        let boolq = task("boolq").unwrap();
        let told = |text: &str| boolq.extract(&item(&["true", "false"]), text);
        assert_eq!(told("the correct answer is false, not true"), Some(Prediction::Choice(1)));
        assert_eq!(told("untrue"), Some(Prediction::Choice(0)));
        assert_eq!(told("True"), None);
        // Not offered, and so wrong.
        let arc = task("arc_easy").unwrap();
        assert_eq!(arc.extract(&item(&["answer1", "answer2"]), "answer5"), Some(Prediction::Choice(4)));
        assert_eq!(
            task("aqua").unwrap().extract(&item(&[]), "The answer is (D), not (A)."),
            Some(Prediction::Choice(3))
        );
    }

    #[test]
    fn names_are_words_of_their_own() {
        let rte = task("glue/rte").unwrap();
        let entailed = item(&["entailment", "not_entailment"]);
        let own = item(&["no", "yes", "no way", "is", "A", "a", "C++"]);
        let cases = [
            (&entailed, "Not_Entailment.", Some(1)),
            (&entailed, "The correct answer is entailment", Some(0)),
            (&entailed, "entailments", None),
            (&own, "I know: yes", Some(1)),
            (&own, "no way", Some(2)),
            (&own, "the correct answer is is", Some(3)),
            (&own, "a", Some(5)),
            (&own, "A", Some(4)),
            (&own, "YES", Some(1)),
            (&own, "use C++", Some(6)),
            (&own, "", None),
        ];
        for (item, text, expected) in cases {
            assert_eq!(rte.extract(item, text), expected.map(Prediction::Choice), "{text}");
        }
    }

    #[test]
    fn the_likeliest_choice_wins_and_length_may_count() {
        let piqa = task("piqa").unwrap();
        let item = item(&["ab", "abcdefgh"]);
        let chosen = |logprobs: &[f64], normalised| piqa.predict(&item, logprobs, normalised);
        assert_eq!(chosen(&[-4.0, -6.0], false), Some(Prediction::Choice(0)));
        // -2 a character against -0.75.
        assert_eq!(chosen(&[-4.0, -6.0], true), Some(Prediction::Choice(1)));
        assert_eq!(chosen(&[-1.0, -1.0], false), Some(Prediction::Choice(0)));
        assert_eq!(chosen(&[f64::NAN, -9.0], false), Some(Prediction::Choice(1)));
        assert_eq!(chosen(&[-1.0], false), None);
        // Characters, not bytes: é is one.
        let accented = self::item(&["éé", "abc"]);
        assert_eq!(piqa.predict(&accented, &[-2.4, -3.3], true), Some(Prediction::Choice(1)));
        assert_eq!(piqa.predict(&self::item(&[]), &[], false), None);
    }
}
