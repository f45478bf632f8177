//! Tools that an assistant may call and does call, from the forms that data sets have them in to the one that chat templates
//! read: OpenAI's, with arguments as an object.

use serde_json::{Map, Value, json};

/// Descriptions of tools: a list, or its text as JSON. An error says what is wrong with them.
pub(crate) fn described(tools: &Value) -> Result<Vec<Value>, String> {
    list(tools, "tool", |tool| match &tool["function"] {
        Value::Object(_) => Ok(tool.clone()),
        _ => Ok(json!({"type": "function", "function": tool})),
    })
}

/// Calls of tools: a list, or its text as JSON. An error says what is wrong with them.
pub(crate) fn called(calls: &Value) -> Result<Vec<Value>, String> {
    list(calls, "call", |call| {
        let Value::Object(fields) = call else { return Err("has no fields".into()) };
        let mut fields = fields.clone();
        let function = match fields.remove("function") {
            Some(function) => function,
            None => {
                let part = |name: &str| Some((name.to_owned(), fields.get(name)?.clone()));
                let function: Map<String, Value> = ["name", "arguments"].into_iter().filter_map(part).collect();
                fields.retain(|name, _| !function.contains_key(name));
                fields.insert("type".into(), "function".into());
                function.into()
            }
        };
        fields.insert("function".into(), with_arguments(function)?);
        Ok(fields.into())
    })
}

/// A call whose arguments are an object, and no longer the text of one.
fn with_arguments(mut function: Value) -> Result<Value, String> {
    let Value::Object(fields) = &mut function else { return Err("has no function".into()) };
    let arguments = match fields.remove("arguments") {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| "has arguments that are not JSON")?,
        Some(value) => value,
    };
    if !arguments.is_object() {
        return Err("has arguments that are not an object".into());
    }
    fields.insert("arguments".into(), arguments);
    Ok(function)
}

/// Each of a list, which may be the text of one, brought into one form; all of them have a name then.
fn list(value: &Value, what: &str, form: impl Fn(&Value) -> Result<Value, String>) -> Result<Vec<Value>, String> {
    let read;
    let value = match value {
        Value::String(text) => {
            read = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
            &read
        }
        other => other,
    };
    let Value::Array(entries) = value else { return Err("is not a list".into()) };
    let formed = |(e, entry): (usize, &Value)| {
        let formed = form(entry).map_err(|why| format!("has {what} {} that {why}", e + 1))?;
        match formed["function"]["name"].as_str() {
            Some(name) if !name.is_empty() => Ok(formed),
            _ => Err(format!("has {what} {} without a name", e + 1)),
        }
    };
    entries.iter().enumerate().map(formed).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_call_is_openais() {
        let wanted = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]);
        for calls in [
            wanted.clone(),
            json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]),
            json!([{"id": "1", "name": "f", "arguments": {"x": 1}}]),
            json!(wanted.to_string()),
        ] {
            assert_eq!(json!(called(&calls).unwrap()), wanted, "{calls}");
        }
        let empty = called(&json!([{"function": {"name": "f", "arguments": ""}}])).unwrap();
        assert_eq!(empty[0]["function"]["arguments"], json!({}));
    }

    #[test]
    fn tools_are_described_as_functions() {
        let wanted = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
        for tools in [wanted.clone(), json!([{"name": "f", "parameters": {}}]), json!(wanted.to_string())] {
            assert_eq!(json!(described(&tools).unwrap()), wanted);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (calls, why) in [
            (json!(7), "is not a list"),
            (json!("["), "is not JSON"),
            (json!([7]), "has call 1 that has no fields"),
            (json!([{"function": 7}]), "has call 1 that has no function"),
            (json!([{"function": {"name": "f", "arguments": "{"}}]), "arguments that are not JSON"),
            (json!([{"function": {"name": "f", "arguments": [1]}}]), "arguments that are not an object"),
            (json!([{"name": "f"}, {"arguments": {}}]), "has call 2 without a name"),
        ] {
            let told = called(&calls).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        assert!(described(&json!([{}])).unwrap_err().contains("tool 1 without a name"));
    }
}
