//! A SentencePiece vocabulary as one of merges: scores say which pair of neighbours is put together first.

use std::collections::HashMap;

/// Bytes of a token that is put together from others, at most: no vocabulary that was trained has longer ones, and every
/// way to cut a token is looked up.
const LONGEST: usize = 512;

/// Most merges: ten times those of 262,144 tokens. More would fill a page's memory.
const MOST: usize = 8 << 20;

/// The merges that scores come to, first ones first: every way to put a token together from two others. Higher scores come
/// first, then longer left parts, then longer right ones, then smaller numbers.
///
/// `priority` is none for tokens that nothing is merged into.
///
/// None if there are more than [`MOST`], which no vocabulary that was learned has.
pub(super) fn of_scores(tokens: &[String], priority: impl Fn(usize) -> Option<f64>) -> Option<Vec<(&str, &str)>> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut found = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let Some(score) = priority(id).filter(|_| token.len() <= LONGEST) else { continue };
        let first = found.len();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&a), Some(&b)) = (ids.get(left), ids.get(right)) {
                let length = |text: &str| text.chars().count();
                found.push((score, [length(left), length(right)], [a, b], (left, right)));
            }
        }
        if found.len() > MOST {
            return None;
        }
        found[first..].sort_by_key(|(_, _, parts, _)| *parts);
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    Some(found.into_iter().map(|(.., parts)| parts).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_come_first_and_every_split_counts() {
        let tokens: Vec<String> = ["a", "b", "ab", "ba", "aba", "<s>"].map(String::from).into();
        let scores = [0.0, 0.0, -2.0, -1.0, -3.0, 0.0];
        let merges = of_scores(&tokens, |id| (id != 5).then_some(scores[id]));
        assert_eq!(merges.unwrap(), [("b", "a"), ("a", "b"), ("ab", "a"), ("a", "ba")]);
    }
}
