//! What chat templates may use: the environment that they are written for.

use std::ops::Range;

use minijinja::{Environment, Error, ErrorKind, Value, syntax::SyntaxConfig, value::Kwargs};
use serde::Serialize;

use crate::row::line_feeds;

/// The name a template has in its environment; without an ending, so that nothing is escaped.
pub(crate) const NAME: &str = "chat";

/// What stands before and behind what a template marks as generated, until the rendered text is taken apart.
pub(crate) const MARKS: [char; 2] = ['\u{10fffc}', '\u{10fffd}'];

/// The filter that puts them there.
const GENERATED: &str = "between_marks";

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

/// An environment with this template in it, and whether the template marks what is generated.
pub(crate) fn environment(source: &str) -> Result<(Environment<'static>, bool), Error> {
    let mut environment = Environment::new();
    // The settings that checkpoints' templates are written for.
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    environment.add_filter(GENERATED, |text: String| format!("{}{text}{}", MARKS[0], MARKS[1]));
    let (source, is_marked) = with_generation_tags(&line_feeds(source));
    environment.add_template_owned(NAME, source)?;
    Ok((environment, is_marked))
}

/// A text that was rendered, and the parts of it that the template marks as generated, in bytes and in order.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) generated: Vec<Range<usize>>,
}

impl Rendered {
    /// Takes the marks out of a text. Marks within marks are part of the outer ones.
    pub(crate) fn of(marked: &str) -> Self {
        let mut rendered = Self::default();
        let (mut depth, mut start) = (0_usize, 0);
        for piece in marked.split_inclusive(MARKS) {
            let mark = piece.chars().next_back().filter(|last| MARKS.contains(last));
            rendered.text += piece.trim_end_matches(MARKS);
            if mark == Some(MARKS[0]) {
                if depth == 0 {
                    start = rendered.text.len();
                }
                depth += 1;
            } else if mark.is_some() && depth > 0 {
                // One that closes nothing came with a text.
                depth -= 1;
                if depth == 0 && rendered.text.len() > start {
                    rendered.generated.push(start..rendered.text.len());
                }
            }
        }
        rendered
    }
}

/// The tags around what is generated, which are no part of Jinja, as a filter; and whether there are any.
fn with_generation_tags(source: &str) -> (String, bool) {
    let (mut out, mut rest, mut is_marked) = (String::new(), source, false);
    while let Some(at) = rest.find("{%") {
        let begin = at + 2;
        let Some(length) = rest[begin..].find("%}") else { break };
        let inside = &rest[begin..begin + length];
        let name = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let instead = match name {
            "generation" => Some(format!("filter {GENERATED}")),
            "endgeneration" => Some("endfilter".into()),
            _ => None,
        };
        out += &rest[..begin];
        match instead {
            // What strips spaces stays.
            Some(tag) => {
                is_marked = true;
                let sign = |c: Option<char>| c.filter(|c| matches!(c, '-' | '+')).map(String::from).unwrap_or_default();
                let (first, last) = (sign(inside.chars().next()), sign(inside.chars().next_back()));
                out += &format!("{first} {tag} {last}");
            }
            None => out += inside,
        }
        out += "%}";
        rest = &rest[begin + length + 2..];
    }
    (out + rest, is_marked)
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
mod tests {
    use super::*;

    /// A tag that is cut short is left to Jinja, which refuses it.
    #[test]
    fn tags_are_found_where_they_are_whole() {
        for (source, marked, left) in [
            // From the first two characters on it is one tag, which nobody knows.
            ("{%}{% generation %}a{% endgeneration %}", true, 1),
            ("{% generation %}a{%- endgeneration -%}{% if", true, 0),
            ("{% if x %}{%%}", false, 0),
        ] {
            let (out, is_marked) = with_generation_tags(source);
            assert_eq!((is_marked, out.matches("generation").count()), (marked, left), "{out}");
        }
    }

    /// Marks that a text brings close nothing twice: spans are in order and apart, whatever comes.
    #[test]
    fn a_mark_that_closes_nothing_is_none() {
        let [open, close] = MARKS;
        for (marked, text, generated) in [
            (format!("a{open}b{close}c"), "abc", vec![(1, 2)]),
            (format!("a{open}b{close}c{close}d"), "abcd", vec![(1, 2)]),
            (format!("{close}a{open}b{open}c{close}d{close}e{open}f{close}"), "abcdef", vec![(1, 4), (5, 6)]),
            (format!("a{open}b"), "ab", vec![]),
        ] {
            let rendered = Rendered::of(&marked);
            let spans: Vec<_> = rendered.generated.iter().map(|span| (span.start, span.end)).collect();
            assert_eq!((rendered.text.as_str(), spans), (text, generated), "{marked:?}");
        }
    }
}
