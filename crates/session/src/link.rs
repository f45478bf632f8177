//! The settings in an address.
//!
//! Only what differs from the page's defaults is written, as `train.steps=400&ist.mode=random`. The data, the model's
//! files and the device belong to a machine and never to a link.

use serde::Serialize;
use serde_json::Value;
use stratune_peft::MethodConfig;
use stratune_protocol::{Problem, SearchConfig, Targets};
use stratune_train::RunConfig;

use crate::catalogue::page_default;

/// Top fields and paths that a link never carries.
const PRIVATE: [&str; 3] = ["model", "device", "data.files"];

/// The part of the address after `#` for these settings; empty for the defaults.
pub fn to_link(config: &RunConfig) -> String {
    let mut pairs = Vec::new();
    let (mut values, mut defaults) = (tree(config), tree(&page_default()));
    if let Some(search) = &config.search {
        // Who searches is always said, for the rest of what is searched for depends on it; and what for.
        defaults["search"] = tree(&SearchConfig::preset(search.by));
        (defaults["search"]["by"], defaults["search"]["budget"]) = ("".into(), Value::Null);
    }
    if config.method.iter().any(is_placed) {
        values["method"] = defaults["method"].clone();
    }
    differences("", &values, &defaults, &mut pairs);
    pairs.join("&")
}

/// Whether a method is at some modules by their paths, as a structure has it: that is a file, and no part of an address.
fn is_placed(method: &MethodConfig) -> bool {
    let is_path = |word: &String| word.split('.').any(|part| part.parse::<usize>().is_ok());
    matches!(&method.targets, Some(Targets::Listed(words)) if words.iter().any(is_path))
}

/// The settings of an address.
pub fn from_link(link: &str) -> Result<RunConfig, Problem> {
    let bad = |what: String, at: &str| {
        Err(Problem::input(what).at(at).next("check the link, or go on with the page's defaults"))
    };
    let mut values = tree(&page_default());
    let pairs = || link.trim_start_matches('#').split('&').filter(|p| !p.is_empty());
    if pairs().any(|pair| pair.starts_with("search.")) {
        let by = pairs().find_map(|pair| decode(pair.strip_prefix("search.by=")?).parse().ok());
        values["search"] = tree(&SearchConfig::preset(by.unwrap_or_default()));
    }
    for pair in pairs() {
        let (path, text) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = values.pointer_mut(&format!("/{}", path.replace('.', "/")));
        let (Some(slot), false) = (slot, PRIVATE.contains(&path)) else {
            return bad("the link names a setting that does not exist".into(), path);
        };
        let text = decode(text);
        *slot = match (&*slot, serde_json::from_str(&text)) {
            (Value::String(_), _) => Value::String(text.clone()),
            (_, Ok(value)) => value,
            (_, Err(_)) => return bad(format!("the link's value '{text}' cannot be read"), path),
        };
        // Each setting alone, so that the message can name it.
        if let Err(error) = serde_json::from_value::<RunConfig>(values.clone()) {
            return bad(format!("the link's value '{text}' cannot be used: {error}"), path);
        }
    }
    serde_json::from_value(values).or_else(|e| bad(format!("the link cannot be read: {e}"), ""))
}

/// As JSON text and back: the text of an f32 is short, its widening to f64 is not.
pub fn tree(value: &impl Serialize) -> Value {
    serde_json::to_string(value).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

fn differences(path: &str, value: &Value, default: &Value, pairs: &mut Vec<String>) {
    if value == default || PRIVATE.contains(&path) {
        return;
    }
    match (value, default) {
        // A map that is empty by default, such as the overrides, is written whole.
        (Value::Object(fields), Value::Object(defaults)) if !defaults.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differences(&path, value, defaults.get(name).unwrap_or(&Value::Null), pairs);
            }
        }
        (Value::String(text), Value::String(_)) => pairs.push(format!("{path}={}", encode(text))),
        _ => pairs.push(format!("{path}={}", encode(&value.to_string()))),
    }
}

/// Percent-encodes all but what an address may hold as it is.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b'~' | b',' | b':' => char::from(b).into(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_peft::{MethodConfig, MethodKind, Methods, TargetOverride};
    use stratune_protocol::{Schedule, SearchBy};

    use super::*;

    #[test]
    fn the_defaults_are_an_empty_hash() {
        assert_eq!(to_link(&page_default()), "");
        assert_eq!(from_link("").unwrap(), page_default());
        assert_eq!(from_link("#").unwrap(), page_default());
    }

    #[test]
    fn round_trip() {
        let mut config = page_default();
        config.train.steps = 400;
        config.train.learning_rate = 5e-4;
        config.train.seed = u64::MAX;
        config.train.schedule = Schedule::Linear;
        config.train.sample_prompts = vec!["Été & \"hiver\"=1".into()];
        config.ist.fraction = 0.3;
        config.method = Methods(vec![MethodConfig::new(MethodKind::Prefix), MethodConfig::default()]);
        config.method[1].targets = Some(Targets::listed(&["q_proj", "v_proj"]));
        config.method[1].overrides.insert("q_proj".into(), TargetOverride { rank: Some(2), alpha: None });
        config.data.prompt_column = "question #1".into();
        let hash = to_link(&config);
        assert!(hash.contains("train.steps=400") && hash.contains("ist.fraction=0.3"), "{hash}");
        assert!(hash.is_ascii() && !hash.contains([' ', '"', '#']), "{hash}");
        assert_eq!(from_link(&hash).unwrap(), config);
    }

    #[test]
    fn a_search_is_said_by_who_and_how_much() {
        for (by, learning_rate) in [(SearchBy::Bipeft, 0.01), (SearchBy::S3delta, 0.1), (SearchBy::Evolution, 0.05)] {
            let search = SearchConfig { budget: 2500, learning_rate, ..SearchConfig::preset(by) };
            let config = RunConfig { search: Some(search), ..page_default() };
            let hash = to_link(&config);
            let plain = format!("search.by={}&search.budget=2500", by.name());
            assert_eq!(hash, if by == SearchBy::Evolution { plain + "&search.learning_rate=0.05" } else { plain });
            assert_eq!(from_link(&hash).unwrap(), config);
        }
        assert_eq!(from_link("search.by=nobody").unwrap_err().at, "search.by");
        assert_eq!(from_link("search.budgets=3").unwrap_err().at, "search.budgets");
    }

    #[test]
    fn what_belongs_to_a_machine_stays_out() {
        let mut config = page_default();
        config.model = "secret".into();
        config.data.files = vec!["diary.jsonl".into()];
        config.device = stratune_protocol::DeviceChoice::Cpu;
        assert_eq!(to_link(&config), "");
        assert_eq!(from_link("model=x").unwrap_err().at, "model");
    }

    #[test]
    fn bad_links_name_the_setting() {
        for (hash, at) in [
            ("train.stepz=4", "train.stepz"),
            ("train.steps=four", "train.steps"),
            ("train.steps=-1", "train.steps"),
            ("ist.mode=sometimes", "ist.mode"),
            ("ist=3", "ist"),
            ("%%%", "%%%"),
        ] {
            let problem = from_link(hash).unwrap_err();
            assert_eq!(problem.at, at, "{hash}: {problem:?}");
            assert!(!problem.next.is_empty());
        }
    }
}
