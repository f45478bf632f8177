//! Rows from JSON and JSON Lines.

use serde_json::{Map, Value};
use stratune_protocol::{DataFormat, Problem};

use crate::{Role, Row, Source, Turn, shape::Shape};

/// Names of the list of rows in a file that is one object.
const LISTS: [&str; 2] = ["data", "train"];

/// Reads a file of JSON rows: one a line, or a list of them.
pub(crate) fn read(name: &str, text: &str, format: DataFormat) -> Result<Source, Problem> {
    let mut source = Source::default();
    let mut shape = None;
    if is_lines(name, text) {
        for (l, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = format!("{name}, line {}", l + 1);
            match serde_json::from_str(line) {
                Ok(value) => add(&mut source, &mut shape, format, at, &value),
                Err(error) => source.skip(at, format!("it is not valid JSON: {error}")),
            }
        }
    } else {
        for (r, value) in document(name, text)?.iter().enumerate() {
            add(&mut source, &mut shape, format, format!("{name}, row {}", r + 1), value);
        }
    }
    source.format = shape.as_ref().map_or("json", Shape::name).into();
    Ok(source)
}

/// Whether each line is a row of its own: the ending says so, or the first line is a whole object and more follow.
fn is_lines(name: &str, text: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if name.ends_with(".jsonl") || name.ends_with(".ndjson") {
        return true;
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    lines.next().is_some() && matches!(serde_json::from_str(first), Ok(Value::Object(_)))
}

/// The rows of a file that is one JSON value.
fn document(name: &str, text: &str) -> Result<Vec<Value>, Problem> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        Problem::input(format!("the file is not valid JSON: {error}"))
            .at(format!("{name}, line {}", error.line()))
            .next("mend the file there; if each line is a row of its own, name it .jsonl")
    })?;
    match value {
        Value::Array(rows) => Ok(rows),
        Value::Object(mut fields) => {
            let list = LISTS.into_iter().find(|list| fields.get(*list).is_some_and(Value::is_array));
            match list.and_then(|list| fields.remove(list)) {
                Some(Value::Array(rows)) => Ok(rows),
                _ => Ok(vec![Value::Object(fields)]),
            }
        }
        _ => Err(Problem::input("the file holds no rows")
            .at(name)
            .next("make it a list of rows, or an object with the list in 'data' or 'train'")),
    }
}

/// Adds a row; the first one that has a known shape decides the shape of all.
fn add(source: &mut Source, shape: &mut Option<Shape>, format: DataFormat, at: String, value: &Value) {
    let Value::Object(fields) = value else { return source.skip(at, "the row is not an object with fields".into()) };
    if shape.is_none() {
        *shape = Shape::of(format, |field| fields.contains_key(field));
    }
    match shape.as_ref().map(|shape| row(fields, shape)) {
        Some(Ok(row)) => source.keep(at, row),
        Some(Err(why)) => source.skip(at, why),
        None => {
            let names: Vec<_> = fields.keys().map(String::as_str).collect();
            let what = if format == DataFormat::Auto { "any known format" } else { "the chosen format" };
            source.skip(at, format!("its fields ({}) are not those of {what}", names.join(", ")));
        }
    }
}

fn row(fields: &Map<String, Value>, shape: &Shape) -> Result<Row, String> {
    match shape {
        Shape::Pair { prompt, input, completion } => {
            let input = match input {
                Some(name) if fields.get(name).is_some_and(|value| !value.is_null()) => text(fields, name)?,
                _ => "",
            };
            Ok(Row::pair(text(fields, prompt)?, input, text(fields, completion)?))
        }
        Shape::Messages { list } => {
            let Some(Value::Array(entries)) = fields.get(list) else {
                return Err(format!("the field '{list}' is missing or not a list"));
            };
            let turns = entries.iter().enumerate();
            let turns = turns.map(|(m, entry)| turn(entry).map_err(|why| format!("in message {}, {why}", m + 1)));
            Ok(Row::Turns(turns.collect::<Result<_, _>>()?))
        }
        Shape::Text { field } => Ok(Row::Text(text(fields, field)?.into())),
    }
}

fn turn(entry: &Value) -> Result<Turn, String> {
    let Value::Object(fields) = entry else { return Err("there are no fields".into()) };
    let (role, content) = if fields.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let name = text(fields, role)?;
    let role = Role::named(name).ok_or_else(|| format!("the role '{name}' is not system, user or assistant"))?;
    Ok(Turn::new(role, text(fields, content)?))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("the field '{name}' is not text")),
        None => Err(format!("the field '{name}' is missing")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_gives_its_rows() {
        let pair = |p: &str, c: &str| Row::pair(p, "", c);
        let turns =
            Row::Turns(vec![Turn::new(Role::System, "s"), Turn::new(Role::User, "u"), Turn::new(Role::Assistant, "a")]);
        let cases = [
            ("a.jsonl", r#"{"instruction":"i","input":"x","output":"o","id":1}"#, "alpaca", Row::pair("i", "x", "o")),
            ("a.json", r#"[{"instruction":"i","input":null,"output":"o"}]"#, "alpaca", pair("i", "o")),
            ("a.json", r#"{"data":[{"prompt":"p","completion":"c"}]}"#, "prompt_completion", pair("p", "c")),
            ("a.json", r#"{"train":[{"prompt":"p","response":"c"}]}"#, "prompt_completion", pair("p", "c")),
            ("a.json", "{\"question\":\"p\",\n\"answer\":\"c\"}", "prompt_completion", pair("p", "c")),
            ("a.json", "{\"input\":\"p\",\"output\":\"c\"}\n{}\n", "prompt_completion", pair("p", "c")),
            (
                "a.jsonl",
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}"#,
                "messages",
                turns.clone(),
            ),
            (
                "a.jsonl",
                r#"{"conversations":[{"from":"system","value":"s"},{"from":"human","value":"u"},{"from":"gpt","value":"a"}]}"#,
                "messages",
                turns,
            ),
            ("a.jsonl", r#"{"text":"t"}"#, "text", Row::Text("t".into())),
        ];
        for (name, text, format, row) in cases {
            let source = read(name, text, DataFormat::Auto).unwrap();
            assert_eq!((source.format.as_str(), &source.rows[0].1), (format, &row), "{text}");
        }
    }

    #[test]
    fn a_bad_row_is_left_out_with_its_line_and_reason() {
        let good = r#"{"prompt":"p","completion":"c"}"#;
        let cases = [
            ("{", "not valid JSON"),
            ("[1]", "not an object"),
            (r#"{"prompt":"p"}"#, "'completion' is missing"),
            (r#"{"prompt":"p","completion":7}"#, "'completion' is not text"),
            (r#"{"prompt":"p","completion":" "}"#, "is empty"),
        ];
        for (bad, why) in cases {
            let source = read("a.jsonl", &format!("{good}\n\n{bad}\n{good}"), DataFormat::Auto).unwrap();
            assert_eq!(source.rows.len(), 2);
            assert_eq!(source.skipped[0].at, "a.jsonl, line 3");
            assert!(source.skipped[0].why.contains(why), "{:?}", source.skipped);
        }
        let messages = [
            (r#"{"messages":[{"role":"user","content":"u"}]}"#, "no assistant turn"),
            (r#"{"messages":[{"role":"tool","content":"u"}]}"#, "in message 1, the role 'tool'"),
            (r#"{"messages":[7]}"#, "no fields"),
            (r#"{"messages":"u"}"#, "not a list"),
        ];
        for (bad, why) in messages {
            let source = read("a.jsonl", bad, DataFormat::Messages).unwrap();
            assert!(source.skipped[0].why.contains(why), "{:?}", source.skipped);
        }
    }

    #[test]
    fn a_broken_document_names_its_line() {
        let problem = read("a.json", "[\n{\"prompt\": \"p\",\n]", DataFormat::Auto).unwrap_err();
        assert_eq!(problem.at, "a.json, line 3");
        assert!(read("a.json", "7", DataFormat::Auto).unwrap_err().what.contains("no rows"));
    }
}
