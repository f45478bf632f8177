//! A message in the forms that data sets have it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{Role, Turn, tools};

/// The fields of who speaks, of what is said, and of whether it is in the loss.
const ROLES: [&str; 2] = ["role", "from"];
const CONTENTS: [&str; 2] = ["content", "value"];
const WEIGHTS: [&str; 2] = ["weight", "train"];

/// Calls of tools, and the one call that older data has.
const CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// What a tool's message says beside: whose call it answers, and which tool it is.
const OF_TOOLS: [&str; 2] = ["tool_call_id", "name"];

/// Fields of a row or a message that hold what is not text.
const MEDIA: [&str; 3] = ["images", "videos", "audios"];

/// What a message of a list says; an error says what is wrong with it. Fields beside that hold something go to `unread`.
pub(crate) fn turn(entry: &Value, unread: &mut dyn FnMut(&str)) -> Result<Turn, String> {
    let Value::Object(fields) = entry else { return Err("there are no fields".into()) };
    only_text(fields)?;
    let first = |names: [&'static str; 2]| names.into_iter().find(|name| fields.contains_key(*name));
    let role_field = first(ROLES).unwrap_or(ROLES[0]);
    let name = field(fields, role_field)?;
    let role = Role::named(&name).ok_or_else(|| format!("the role '{name}' is not system, user, assistant or tool"))?;
    let content = first(CONTENTS).unwrap_or(CONTENTS[0]);
    let mut beside = Map::new();
    let call = CALLS.into_iter().find(|call| fields.get(*call).is_some_and(is_set));
    if let Some(call) = call {
        if role != Role::Assistant {
            return Err(format!("the field '{call}' calls a tool, which is the assistant's to do"));
        }
        let calls = match &fields[call] {
            one @ Value::Object(_) => tools::called(&Value::from(vec![one.clone()])),
            several => tools::called(several),
        };
        beside.insert(CALLS[0].into(), calls.map_err(|why| format!("the field '{call}' {why}"))?.into());
    }
    if role == Role::Tool {
        beside.extend(OF_TOOLS.into_iter().filter_map(|name| Some((name.to_owned(), fields.get(name)?.clone()))));
    }
    // Who calls a tool need not say anything.
    let says = call.is_none() || fields.get(content).is_some_and(is_set);
    let text = if says { field(fields, content)? } else { "".into() };
    let mut turn = Turn { beside, ..Turn::new(role, text) };
    let weight = first(WEIGHTS);
    if let Some(weight) = weight {
        turn.is_label &= is_label(&fields[weight]).ok_or_else(|| format!("the field '{weight}' is neither 0 nor 1"))?;
    }
    for (name, _) in fields.iter().filter(|(_, value)| is_set(value)) {
        let name = name.as_str();
        if ![role_field, content].contains(&name)
            && ![weight, call].contains(&Some(name))
            && !turn.beside.contains_key(name)
        {
            unread(name);
        }
    }
    Ok(turn)
}

/// Whether the weight of an answer puts it in the loss.
fn is_label(weight: &Value) -> Option<bool> {
    match weight {
        Value::Null => Some(true),
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        _ => None,
    }
}

/// A row or a message that comes with an image, a video or a sound means nothing without it.
pub(crate) fn only_text(fields: &Map<String, Value>) -> Result<(), String> {
    match MEDIA.into_iter().find(|name| fields.get(*name).is_some_and(is_set)) {
        Some(name) => Err(format!("the field '{name}' is not text, and only text is read")),
        None => Ok(()),
    }
}

/// The text of a field.
pub(crate) fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Cow<'a, str>, String> {
    match fields.get(name) {
        Some(value) => text(value).map_err(|why| format!("the field '{name}' {why}")),
        None => Err(format!("the field '{name}' is missing")),
    }
}

/// A text as it stands, or in parts, which follow each other as they do in chat templates.
fn text(value: &Value) -> Result<Cow<'_, str>, String> {
    match value {
        Value::String(text) => Ok(text.into()),
        Value::Object(_) => part(value).map(Cow::from).map_err(|kind| format!("is {kind}, and only text is read")),
        Value::Array(parts) => {
            let text = |(p, value): (usize, &Value)| {
                let why = |kind: String| format!("has part {} of {kind}, and only text is read", p + 1);
                part(value).map(str::to_owned).map_err(why)
            };
            parts.iter().enumerate().map(text).collect::<Result<String, _>>().map(Cow::from)
        }
        _ => Err("is not text".into()),
    }
}

/// The text of one part, or what the part is instead.
fn part(value: &Value) -> Result<&str, String> {
    let kind = value["type"].as_str();
    match (value, &value["text"], kind) {
        (Value::String(text), ..) => Ok(text),
        (_, Value::String(text), None | Some("text" | "input_text" | "output_text")) => Ok(text),
        (_, _, Some(kind)) => Err(format!("type {kind}")),
        _ => Err("no known type".into()),
    }
}

/// Whether a field holds anything.
pub(crate) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(message: &str) -> (Result<Turn, String>, Vec<String>) {
        let mut unread = Vec::new();
        let turn = turn(&serde_json::from_str(message).unwrap(), &mut |name| unread.push(name.into()));
        (turn, unread)
    }

    #[test]
    fn every_form_gives_its_turn() {
        let cases = [
            (r#"{"role":"user","content":"hi you"}"#, Role::User),
            (r#"{"from":"human","value":"hi you"}"#, Role::User),
            (r#"{"role":"User","value":"hi you"}"#, Role::User),
            (r#"{"role":"developer","content":"hi you"}"#, Role::System),
            (r#"{"role":"model","content":[{"type":"text","text":"hi you"}]}"#, Role::Assistant),
            (
                r#"{"role":"assistant","content":[{"type":"output_text","text":"hi"},{"text":" "},"you"]}"#,
                Role::Assistant,
            ),
            (r#"{"role":"user","content":{"type":"text","text":"hi you"},"tool_calls":[],"images":null}"#, Role::User),
        ];
        for (message, role) in cases {
            assert_eq!(read(message), (Ok(Turn::new(role, "hi you")), vec![]), "{message}");
        }
    }

    #[test]
    fn what_is_no_text_is_told() {
        let cases = [
            ("7", "there are no fields"),
            (r#"{"role":"judge","content":"a"}"#, "the role 'judge'"),
            (r#"{"role":"user","content":"a","tool_calls":[{"name":"f"}]}"#, "'tool_calls' calls a tool"),
            (r#"{"role":"user"}"#, "'content' is missing"),
            (r#"{"role":"user","content":null}"#, "'content' is not text"),
            (r#"{"role":"user","content":["a",{"type":"image_url","image_url":{}}]}"#, "part 2 of type image_url"),
            (r#"{"role":"user","content":[{"type":"text"}]}"#, "part 1 of type text"),
            (r#"{"role":"user","content":[7]}"#, "part 1 of no known type"),
            (r#"{"role":"user","content":{"type":"audio"}}"#, "'content' is type audio"),
            (r#"{"role":"user","content":"a","images":["a.png"]}"#, "'images' is not text"),
            (r#"{"role":"assistant","content":"","tool_calls":[{"id":1}]}"#, "'tool_calls' has call 1 without a name"),
            (r#"{"role":"assistant","content":"a","weight":0.5}"#, "'weight' is neither 0 nor 1"),
        ];
        for (message, why) in cases {
            let told = read(message).0.unwrap_err();
            assert!(told.contains(why), "{message}: {told}");
        }
    }

    #[test]
    fn tools_are_called_and_answer() {
        let calls = json!([{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]);
        for message in [
            r#"{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
            r#"{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":{"x":1}}}]}"#,
            r#"{"from":"gpt","value":"","function_call":{"name":"f","arguments":"{\"x\":1}"}}"#,
        ] {
            let (turn, unread) = read(message);
            assert_eq!((turn.unwrap().beside["tool_calls"].clone(), unread.len()), (calls.clone(), 0), "{message}");
        }
        let (turn, unread) = read(r#"{"role":"tool","content":"7","tool_call_id":"a","name":"f"}"#);
        let turn = turn.unwrap();
        assert_eq!((turn.role, turn.is_label, turn.beside.len(), unread.len()), (Role::Tool, false, 2, 0));
    }

    #[test]
    fn an_answer_may_be_there_and_be_no_label() {
        for (weight, is_label) in [("0", false), ("1", true), ("1.0", true), ("false", false), ("null", true)] {
            for field in WEIGHTS {
                let (turn, unread) = read(&format!(r#"{{"role":"assistant","content":"a","{field}":{weight}}}"#));
                assert_eq!((turn.unwrap().is_label, unread.len()), (is_label, 0), "{field} {weight}");
            }
        }
        assert!(!read(r#"{"role":"user","content":"a","weight":1}"#).0.unwrap().is_label);
    }

    #[test]
    fn fields_beside_are_told() {
        let (_, mut unread) = read(r#"{"role":"assistant","content":"a","thinking":"b","name":"","id":3}"#);
        // Whether objects keep the order of the text is another crate's choice.
        unread.sort();
        assert_eq!(unread, ["id", "thinking"]);
    }
}
