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
            Answers::FirstLetter => {
                let letter = text.bytes().find(|byte| (b'A'..=b'E').contains(byte))?;
                Some(Prediction::Choice(usize::from(letter - b'A')))
            }
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

/// The last number as `-?\d+\.?\d*` finds it in a text without commas.
fn last_number(text: &str) -> Option<f64> {
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
