//! Calls of tools in what a model writes, in the forms that chat templates teach: Hermes' and Qwen's `<tool_call>`, Mistral's
//! `[TOOL_CALLS]`, Granite's `<|tool_call|>`, and Llama's JSON, with `<|python_tag|>` or alone.

use serde_json::{Deserializer, Value, json};

/// What calls begin with.
const MARKS: [&str; 4] = [QWEN, MISTRAL, "<|tool_call|>", "<|python_tag|>"];
/// What a stream of text has to keep, though a tokenizer may have it among what is no text.
pub(crate) const KEPT: [&str; 6] = [QWEN, QWEN_END, MISTRAL, MISTRAL_ARGUMENTS, MARKS[2], MARKS[3]];
const QWEN: &str = "<tool_call>";
const QWEN_END: &str = "</tool_call>";
const MISTRAL: &str = "[TOOL_CALLS]";
/// What Mistral's later models write between a name and its arguments.
const MISTRAL_ARGUMENTS: &str = "[ARGS]";

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    name: String,
    /// A JSON object, as text.
    arguments: String,
}

impl ToolCall {
    /// In OpenAI's form, with an id made of this number. Templates of Mistral's models want an id of nine letters and digits.
    pub fn json(&self, id: u64) -> Value {
        let Self { name, arguments } = self;
        let id = format!("{:09x}", id & 0xf_ffff_ffff);
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }
}

/// Tells calls from text while an answer is written.
#[derive(Debug)]
pub struct ToolCallReader {
    /// Names of the tools. Nothing else is a call.
    tools: Vec<String>,
    /// What may be a call, or the beginning of a mark.
    held: String,
    /// Whether any text was given that is no space.
    told: bool,
}

impl ToolCallReader {
    /// Of an answer that may call these tools, as a request describes them.
    pub fn new(tools: &[Value]) -> Self {
        let name = |tool: &Value| Some(tool["function"]["name"].as_str().or(tool["name"].as_str())?.to_string());
        Self { tools: tools.iter().filter_map(name).collect(), held: String::new(), told: false }
    }

    /// The next piece of the answer; gives what is surely text.
    pub fn text(&mut self, piece: String) -> String {
        if self.tools.is_empty() {
            return piece;
        }
        self.held.push_str(&piece);
        let keep = self.call_from().unwrap_or_else(|| self.mark_from());
        let text: String = self.held.drain(..keep).collect();
        self.told |= !text.trim().is_empty();
        text
    }

    /// Where a call begins, if one does.
    fn call_from(&self) -> Option<usize> {
        let start = self.held.len() - self.held.trim_start().len();
        let is_json = !self.told && self.held[start..].starts_with(['{', '[']);
        MARKS.iter().filter_map(|mark| self.held.find(mark)).chain(is_json.then_some(start)).min()
    }

    /// Where a mark may have begun whose end has not come.
    fn mark_from(&self) -> usize {
        let begins = |at: &usize| MARKS.iter().any(|mark| mark.starts_with(&self.held[*at..]));
        self.held.char_indices().map(|(at, _)| at).find(begins).unwrap_or(self.held.len())
    }

    /// The answer is over: text that has not been given, and the calls.
    pub fn end(self) -> (String, Vec<ToolCall>) {
        match calls(&self.held).filter(|(_, calls)| calls.iter().all(|call| self.tools.contains(&call.name))) {
            Some(read) => read,
            None => (self.held, Vec::new()),
        }
    }
}

/// The calls of a text that begins with one, and what else it says.
fn calls(text: &str) -> Option<(String, Vec<ToolCall>)> {
    let text = text.trim();
    let mut beside = String::new();
    let calls = if let Some(text) = text.strip_prefix(QWEN) {
        let mut calls = Vec::new();
        for one in text.split(QWEN) {
            let (call, behind) = one.split_once(QWEN_END).unwrap_or((one, ""));
            calls.extend(of_json(call)?);
            beside.push_str(if behind.trim().is_empty() { "" } else { behind });
        }
        calls
    } else if let Some(text) = text.strip_prefix(MISTRAL) {
        match text.trim_start().starts_with(['[', '{']) {
            true => of_json(text)?,
            false => text.split(MISTRAL).map(with_name_before).collect::<Option<_>>()?,
        }
    } else {
        of_json(MARKS.iter().find_map(|mark| text.strip_prefix(mark)).unwrap_or(text))?
    };
    (!calls.is_empty()).then_some((beside, calls))
}

/// A name, and its arguments behind it.
fn with_name_before(text: &str) -> Option<ToolCall> {
    let (name, arguments) =
        text.split_once(MISTRAL_ARGUMENTS).or_else(|| text.find('{').map(|at| text.split_at(at)))?;
    let arguments: Value = serde_json::from_str(arguments.trim()).ok()?;
    call(name.trim(), &arguments)
}

/// Objects with a name and arguments, one after another or in a list.
fn of_json(text: &str) -> Option<Vec<ToolCall>> {
    let mut calls = Vec::new();
    let mut left = text.trim();
    while !left.is_empty() {
        let mut values = Deserializer::from_str(left).into_iter::<Value>();
        let entries = match values.next()?.ok()? {
            Value::Array(entries) => entries,
            one => vec![one],
        };
        for entry in &entries {
            calls.push(call(entry["name"].as_str()?, entry.get("arguments").or(entry.get("parameters"))?)?);
        }
        left = left[values.byte_offset()..].trim_start().trim_start_matches([';', ',']).trim_start();
    }
    Some(calls)
}

fn call(name: &str, arguments: &Value) -> Option<ToolCall> {
    let arguments = match arguments {
        Value::String(text) => serde_json::from_str::<Value>(text).ok().filter(Value::is_object)?.to_string(),
        Value::Object(_) => arguments.to_string(),
        _ => return None,
    };
    Some(ToolCall { name: name.into(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> [Value; 2] {
        [json!({"type": "function", "function": {"name": "f"}}), json!({"name": "g"})]
    }

    /// Text and calls of an answer that comes in pieces of so many characters.
    fn read(answer: &str, size: usize) -> (String, Vec<(String, String)>) {
        let mut reader = ToolCallReader::new(&tools());
        let characters: Vec<char> = answer.chars().collect();
        let mut text: String = characters.chunks(size).map(|piece| reader.text(piece.iter().collect())).collect();
        let (rest, calls) = reader.end();
        text += &rest;
        (text, calls.into_iter().map(|call| (call.name, call.arguments)).collect())
    }

    #[test]
    fn calls_are_told_from_text_however_they_come() {
        let one = [("f", r#"{"x":1}"#)];
        let two = [("f", r#"{"x":1}"#), ("g", "{}")];
        for (answer, text, wanted) in [
            ("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>", "", &one[..]),
            (
                "Let me see.\n<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>",
                "Let me see.\n",
                &two,
            ),
            (
                "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": {}}]",
                "",
                &two,
            ),
            (
                "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call> I am checking.",
                " I am checking.",
                &one,
            ),
            ("[TOOL_CALLS]f{\"x\": 1}[TOOL_CALLS]g[ARGS]{}", "", &two),
            ("<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"x\": 1}}]", "", &one),
            ("<|python_tag|>{\"name\": \"f\", \"parameters\": {\"x\": 1}}", "", &one),
            (" {\"name\": \"f\", \"parameters\": {\"x\": 1}}; {\"name\": \"g\", \"parameters\": {}}", " ", &two),
            ("{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}", "", &one),
            // What is no call is text, to the last character.
            ("It is 7 < 8, and <tool", "It is 7 < 8, and <tool", &[]),
            ("{\"name\": \"h\", \"arguments\": {}}", "{\"name\": \"h\", \"arguments\": {}}", &[]),
            ("{\"name\": \"f\", \"arguments\": {\"x\":", "{\"name\": \"f\", \"arguments\": {\"x\":", &[]),
            ("{\"name\": \"f\", \"arguments\": 3}", "{\"name\": \"f\", \"arguments\": 3}", &[]),
            ("<tool_call>no</tool_call>", "<tool_call>no</tool_call>", &[]),
            ("Say {\"name\": \"f\", \"arguments\": {}}", "Say {\"name\": \"f\", \"arguments\": {}}", &[]),
            ("[1, 2]", "[1, 2]", &[]),
            ("„é“ [TOOL_CALLS", "„é“ [TOOL_CALLS", &[]),
            ("", "", &[]),
        ] {
            for size in [1, 2, 5, 1000] {
                let (said, calls) = read(answer, size);
                let calls: Vec<_> = calls.iter().map(|(name, arguments)| (name.as_str(), arguments.as_str())).collect();
                assert_eq!((said.as_str(), &calls[..]), (text, wanted), "{answer:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn without_tools_all_is_text_at_once() {
        let mut reader = ToolCallReader::new(&[]);
        assert_eq!(reader.text("<tool_call>".into()), "<tool_call>");
    }

    #[test]
    fn a_call_has_openais_form() {
        let call = ToolCall { name: "f".into(), arguments: "{}".into() };
        let json = call.json(u64::MAX);
        assert_eq!(json["function"], json!({"name": "f", "arguments": "{}"}));
        assert_eq!(json["id"].as_str().map(str::len), Some(9));
    }
}
