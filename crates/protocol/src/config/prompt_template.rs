//! A prompt that is made of columns.

use crate::Problem;

/// A prompt that is made of columns, such as `Summarise: {document}`; `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Column(String),
}

impl PromptTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// A brace is not closed or not opened, or there is no column in it.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |what: String| {
            Err(Problem::input(what)
                .at("data.prompt_template")
                .next("write columns as {column}, and braces that are meant as braces twice"))
        };
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain += &rest[..at];
            let from = &rest[at..];
            if from.starts_with("{{") || from.starts_with("}}") {
                plain += &from[..1];
                rest = &from[2..];
                continue;
            }
            let Some(end) = from.find('}').filter(|_| from.starts_with('{')) else {
                return bad(format!(
                    "the template has a brace without its other: {}",
                    from.chars().take(20).collect::<String>()
                ));
            };
            let column = from[1..end].trim();
            if column.is_empty() || column.contains('{') {
                return bad(format!("the template has no column in {}", &from[..=end]));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Column(column.into()));
            rest = &from[end + 1..];
        }
        plain += rest;
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        let template = Self { pieces };
        if template.columns().next().is_none() {
            return bad("the template has no column".into());
        }
        Ok(template)
    }

    /// The columns in it, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with what `cell` says in the place of each column.
    ///
    /// # Errors
    /// The first that `cell` gives.
    pub fn filled<E>(&self, mut cell: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Column(name) => cell(name),
                Piece::Text(text) => Ok(text.clone()),
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_in() {
        let cell = |name: &str| if name == "no" { Err("none") } else { Ok(format!("<{name}>")) };
        for (text, filled) in [
            ("{a}", Ok("<a>")),
            ("Of { a b }: {c}?", Ok("Of <a b>: <c>?")),
            ("{{{a}}}", Ok("{<a>}")),
            ("{{\"x\": {x}}}", Ok("{\"x\": <x>}")),
            ("東京{é}", Ok("東京<é>")),
            ("{a}{no}", Err("none")),
        ] {
            assert_eq!(PromptTemplate::parse(text).unwrap().filled(cell), filled.map(str::to_owned), "{text}");
        }
        assert_eq!(PromptTemplate::parse("{a}{b} {a}").unwrap().columns().collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "a", "{{a}}", "{", "{a", "a}", "{}", "{ }", "{a{b}"] {
            let problem = PromptTemplate::parse(text).unwrap_err();
            assert!(problem.at == "data.prompt_template" && !problem.next.is_empty(), "{text}");
        }
    }
}
