//! The merges of a `tokenizer.json` as SentencePiece's scores: what is merged first has the highest.

use std::collections::HashMap;

use super::merges;
use super::vocabulary::Kind;

/// A score for each token.
///
/// # Errors
/// The merges are in no order that scores of tokens have.
pub(super) fn of_merges(tokens: &[String], kinds: &[Kind], given: &[(String, String)]) -> Result<Vec<f64>, String> {
    let mut first: HashMap<String, usize> = HashMap::new();
    for (rank, (left, right)) in given.iter().enumerate() {
        first.entry(format!("{left}{right}")).or_insert(rank);
    }
    let score = |id: usize| first.get(&tokens[id]).map(|rank| -(*rank as f64) - 1.0);
    // What no merge makes comes after all that one does.
    let last = -(given.len() as f64) - 1.0;
    let scores =
        (0..tokens.len()).map(|id| if kinds[id] == Kind::Normal { score(id).unwrap_or(last) } else { 0.0 }).collect();
    let of_normal = |id: usize| if kinds[id] == Kind::Normal { Some(score(id).unwrap_or(last)) } else { None };
    let derived = merges::of_scores(tokens, of_normal).unwrap_or_default();
    let same = derived.len() == given.len()
        && derived.iter().zip(given).all(|(have, want)| *have == (want.0.as_str(), want.1.as_str()));
    match same {
        true => Ok(scores),
        false => {
            Err("the merges of tokenizer.json are in no order that scores have, which is what GGUF has of them".into())
        }
    }
}
