//! Damaged copies of a file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::{Rng, RngExt};
use serde_json::{Value, json};
use stratune_peft::Methods;
use stratune_protocol::{Problem, draws};

/// Reads `count` damaged copies of a file, the same ones each time, and requires of each that it is read or refused with
/// words. If the file is JSON, every other copy is JSON too. Some must be refused, or the damage would be none.
pub fn survives(name: &str, file: &[u8], count: u64, read: impl Fn(&[u8]) -> Result<(), Problem>) {
    read(file).unwrap_or_else(|problem| panic!("{name} as it is: {problem:?}"));
    let value: Option<Value> = serde_json::from_slice(file).ok();
    let (mut panicked, mut refused) = (Vec::new(), 0);
    for copy in 0..count {
        let mut rng = draws(copy, name, [0, 0]);
        let (what, bytes) = match &value {
            Some(value) if copy % 2 == 0 => {
                let mut value = value.clone();
                (bend(&mut value, &mut rng), value.to_string().into_bytes())
            }
            _ => corrupt(file, &mut rng),
        };
        match catch_unwind(AssertUnwindSafe(|| read(&bytes))) {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => {
                assert!(!problem.what.is_empty(), "{name}, copy {copy}, {what}");
                refused += 1;
            }
            Err(_) => panicked.push(format!("copy {copy}: {what}")),
        }
    }
    assert!(panicked.is_empty(), "{name}: {} of {count} panic:\n{}", panicked.len(), panicked.join("\n"));
    assert!(refused > 0, "{name}: nothing was refused");
}

/// The same with values that were bent, for what has a form of its own around them.
pub fn survives_bent(name: &str, value: &Value, count: u64, read: impl Fn(Value) -> Result<(), Problem>) {
    let read = |bytes: &[u8]| match serde_json::from_slice(bytes) {
        Ok(value) => read(value),
        Err(error) => Err(Problem::input(error.to_string())),
    };
    survives(name, value.to_string().as_bytes(), count, read);
}

/// The methods with sizes that fit a model of 16 numbers a position.
pub fn small_sizes(mut methods: Methods) -> Methods {
    methods.set(Some(2), |m| &mut m.rank);
    methods.set(Some(4), |m| &mut m.initial_rank);
    methods.set(Some(4), |m| &mut m.width);
    methods.set(Some(4), |m| &mut m.length);
    methods.set(Some(60), |m| &mut m.dimension);
    methods.set(Some(2), |m| &mut m.reduction);
    methods
}

/// Changes some bytes; says how.
pub fn corrupt(file: &[u8], rng: &mut impl Rng) -> (String, Vec<u8>) {
    let mut bytes = file.to_vec();
    if bytes.is_empty() {
        return ("nothing to damage".into(), bytes);
    }
    let at = rng.random_range(0..bytes.len());
    let end = (at + rng.random_range(1..24)).min(bytes.len());
    let what = match rng.random_range(0..7) {
        0 => {
            bytes[at] ^= 1 << rng.random_range(0..8);
            format!("a bit of byte {at}")
        }
        1 => {
            bytes[at] = b"\"{}[],:0919-.e\\ \n\r\0\xff"[rng.random_range(0..20)];
            format!("byte {at} is {}", bytes[at])
        }
        2 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        3 => {
            bytes.drain(at..end);
            format!("without bytes {at} to {end}")
        }
        4 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
            format!("bytes {at} to {end} are there twice")
        }
        5 => {
            let other = rng.random_range(0..bytes.len());
            bytes.swap(at, other);
            format!("bytes {at} and {other} are swapped")
        }
        _ => {
            let noise: Vec<u8> = (0..rng.random_range(1..9)).map(|_| rng.random()).collect();
            bytes.splice(at..end, noise);
            format!("noise in place of bytes {at} to {end}")
        }
    };
    (what, bytes)
}

/// Changes one value within another; says how.
pub fn bend(value: &mut Value, rng: &mut impl Rng) -> String {
    let donor = node(value, rng).1.clone();
    let (path, found) = node(value, rng);
    match rng.random_range(0..6) {
        0 => {
            *found = donor;
            format!("{path} is another part of the file")
        }
        1 => match found {
            Value::Object(fields) if !fields.is_empty() => {
                let key = fields.keys().nth(rng.random_range(0..fields.len())).cloned().unwrap_or_default();
                fields.remove(&key);
                format!("{path} without '{key}'")
            }
            Value::Array(list) if !list.is_empty() => {
                let k = rng.random_range(0..list.len());
                list.remove(k);
                format!("{path} without {k}")
            }
            other => {
                *other = Value::Null;
                format!("{path} is null")
            }
        },
        2 => match found {
            Value::Object(fields) => {
                let key = ["", "type", "0", "__metadata__", "next"][rng.random_range(0..5)];
                fields.insert(key.into(), donor);
                format!("{path} with '{key}'")
            }
            Value::Array(list) => {
                list.push(donor);
                format!("{path} with one more")
            }
            Value::Number(number) => {
                let times = [10.0, -1.0, 0.1, 1000.0][rng.random_range(0..4)];
                let scaled = number.as_f64().unwrap_or(1.0) * times;
                *found =
                    if scaled.fract() == 0.0 && scaled.abs() < 1e15 { json!(scaled as i64) } else { json!(scaled) };
                format!("{path} times {times}")
            }
            other => {
                *other = json!([other.clone()]);
                format!("{path} in a list")
            }
        },
        _ => {
            let deep = (0..100).fold(json!(0), |inner, _| json!([inner]));
            let strange = [
                json!(null),
                json!(true),
                json!(false),
                json!(0),
                json!(1),
                json!(-1),
                json!(3),
                json!(0.5),
                json!(u32::MAX),
                json!(u64::MAX),
                json!(1e300),
                json!(""),
                json!("a"),
                json!(" "),
                json!("東京🦀\u{0}"),
                json!([]),
                json!({}),
                json!([[], {}]),
                deep,
            ];
            let k = rng.random_range(0..strange.len());
            *found = strange[k].clone();
            format!("{path} is number {k} of the strange values")
        }
    }
}

/// Some part of a value: at each level one is taken, or the way ends.
fn node<'a>(value: &'a mut Value, rng: &mut impl Rng) -> (String, &'a mut Value) {
    let (mut path, mut here) = (String::from("$"), value);
    loop {
        let width = match &*here {
            Value::Object(fields) => fields.len(),
            Value::Array(list) => list.len(),
            _ => 0,
        };
        if width == 0 || rng.random_range(0..8) == 0 {
            return (path, here);
        }
        let k = rng.random_range(0..width);
        here = match here {
            Value::Object(fields) => {
                let Some((key, inner)) = fields.iter_mut().nth(k) else { unreachable!("{k} of {width}") };
                path += &format!(".{key}");
                inner
            }
            Value::Array(list) => {
                path += &format!("[{k}]");
                &mut list[k]
            }
            _ => unreachable!("only lists and objects have parts"),
        };
    }
}
