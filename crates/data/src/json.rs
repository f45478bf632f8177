//! Rows from JSON and JSON Lines.

use serde_json::Value;
use stratune_protocol::Problem;

use crate::Source;
use crate::fields::{Reading, Rows};

/// Names of the list of rows in a file that is one object.
const LISTS: [&str; 2] = ["data", "train"];

/// Reads a file of JSON rows: one a line, or a list of them.
pub(crate) fn read<'a>(name: &str, text: &str, reading: impl Into<Reading<'a>>) -> Result<Source, Problem> {
    let mut rows = Rows::new(reading.into());
    if is_lines(name, text) {
        for (l, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = format!("{name}, line {}", l + 1);
            match serde_json::from_str(line) {
                Ok(value) => rows.add(at, &value),
                Err(error) => rows.source.skip(at, format!("it is not valid JSON: {error}"), || line.into()),
            }
        }
    } else {
        for (r, value) in document(name, text)?.iter().enumerate() {
            rows.add(format!("{name}, row {}", r + 1), value);
        }
    }
    rows.finish(name, None)
}

/// Reads a table in Parquet that was unpacked: its columns, and a row a line.
pub(crate) fn read_table(name: &str, columns: Vec<String>, lines: &str, reading: Reading) -> Result<Source, Problem> {
    let mut rows = Rows::of_table(name, columns, reading)?;
    for (r, line) in lines.lines().enumerate() {
        let at = format!("{name}, row {}", r + 1);
        match serde_json::from_str(line) {
            Ok(value) => rows.add(at, &value),
            Err(error) => rows.source.skip(at, format!("it is not valid JSON: {error}"), || line.into()),
        }
    }
    rows.finish(name, Some("parquet"))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::{DataConfig, DataFormat};

    use super::*;
    use crate::{Conversation, Role, Row, Turn};

    fn read(name: &str, text: &str, format: DataFormat) -> Result<Source, Problem> {
        super::read(name, text, &DataConfig { format, ..DataConfig::default() })
    }

    #[test]
    fn every_layout_gives_its_rows() {
        let pair = |p: &str, c: &str| Row::pair(p, "", c);
        let turns = Row::Turns(
            vec![Turn::new(Role::System, "s"), Turn::new(Role::User, "u"), Turn::new(Role::Assistant, "a")].into(),
        );
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
    fn what_stands_beside_a_pair_or_a_conversation_is_read() {
        let turns = |said: &[(Role, &str)]| {
            Row::Turns(said.iter().map(|&(role, text)| Turn::new(role, text)).collect::<Vec<_>>().into())
        };
        use Role::{Assistant as A, System as S, User as U};
        let cases = [
            (
                r#"{"system":"s","conversations":[{"from":"human","value":"u"},{"from":"gpt","value":"a"}]}"#,
                turns(&[(S, "s"), (U, "u"), (A, "a")]),
            ),
            (
                r#"{"system":"s","messages":[{"role":"system","content":"s"},{"role":"assistant","content":"a"}]}"#,
                turns(&[(S, "s"), (A, "a")]),
            ),
            (r#"{"system_prompt":"s","question":"u","response":"a"}"#, turns(&[(S, "s"), (U, "u"), (A, "a")])),
            (r#"{"system":"","instruction":"u","input":"","output":"a","history":[]}"#, turns(&[(U, "u"), (A, "a")])),
            (
                r#"{"instruction":"u","output":"a","history":[["q","r"]],"system":"s"}"#,
                turns(&[(S, "s"), (U, "q"), (A, "r"), (U, "u"), (A, "a")]),
            ),
            (r#"{"instruction":"u","context":"x","response":"a"}"#, turns(&[(U, "u\n\nx"), (A, "a")])),
            (r#"{"question":"u","context":"x","answer":"a"}"#, turns(&[(U, "u\n\nx"), (A, "a")])),
            (r#"[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]"#, turns(&[(U, "u"), (A, "a")])),
            (
                r#"{"prompt":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"completion":[{"role":"assistant","content":"a"}]}"#,
                turns(&[(S, "s"), (U, "u"), (A, "a")]),
            ),
        ];
        for (text, row) in cases {
            let source = read("a.jsonl", text, DataFormat::Auto).unwrap();
            assert_eq!(source.rows.first().map(|(_, row)| row), Some(&row), "{text} {:?}", source.skipped);
            assert!(source.unread.is_empty(), "{text} {:?}", source.unread);
        }
    }

    #[test]
    fn answers_within_a_prompt_are_no_labels() {
        let text = r#"{"prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"r"},{"role":"user","content":"u"}],"completion":"a"}"#;
        let source = read("a.jsonl", text, DataFormat::Auto).unwrap();
        let Row::Turns(Conversation { turns, .. }) = &source.rows[0].1 else { panic!("{source:?}") };
        assert_eq!(turns.iter().map(|turn| turn.is_label).collect::<Vec<_>>(), [false, false, false, true]);
    }

    #[test]
    fn what_is_not_read_is_told() {
        let text = r#"{"messages":[{"role":"assistant","content":"a","thinking":"b"}],"tools":[],"id":1,"note":null}"#;
        let mut source = read("a.jsonl", &format!("{text}\n{text}"), DataFormat::Auto).unwrap();
        source.unread.sort();
        assert_eq!((source.rows.len(), source.unread), (2, vec!["id".into(), "messages.thinking".into()]));
        let text = "{\"text\":\"t\",\"system\":\"s\"}";
        assert_eq!(read("a.jsonl", text, DataFormat::Auto).unwrap().unread, ["system"]);
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
            (r#"{"prompt":"p","completion":"c","images":["a.png"]}"#, "'images' is not text"),
            (r#"{"prompt":"p","completion":[{"type":"image"}]}"#, "'completion' has part 1 of type image"),
            (r#"{"prompt":"p","completion":"c","history":[["q"]]}"#, "'history' is not a list of pairs"),
            (r#"{"prompt":"p","completion":"c","system":7}"#, "'system' is not text"),
        ];
        for (bad, why) in cases {
            let source = read("a.jsonl", &format!("{good}\n\n{bad}\n{good}"), DataFormat::Auto).unwrap();
            assert_eq!(source.rows.len(), 2);
            assert_eq!((source.skipped[0].at.as_str(), source.skipped[0].raw.is_empty()), ("a.jsonl, line 3", false));
            assert!(source.skipped[0].why.contains(why), "{:?}", source.skipped);
        }
        let messages = [
            (r#"{"messages":[{"role":"user","content":"u"}]}"#, "no assistant turn"),
            (r#"{"messages":[{"role":"judge","content":"u"}]}"#, "in message 1, the role 'judge'"),
            (r#"{"messages":[7]}"#, "no fields"),
            (r#"{"messages":"u"}"#, "not a list"),
            (
                r#"{"system":"s","messages":[{"role":"system","content":"t"},{"role":"assistant","content":"a"}]}"#,
                "differ",
            ),
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
