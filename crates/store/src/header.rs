//! The header of a safetensors file: which tensors it holds and where. Checked in full before a number is read.

use std::collections::BTreeMap;

use serde::Deserialize;
use stratune_protocol::Problem;

use crate::tensor::Stored;

/// Bytes before the header: its length as a u64.
pub(crate) const PREFIX: u64 = 8;

/// Longest header that is believed.
const LONGEST: u64 = 100_000_000;

const DAMAGED: &str = "the file is damaged or not safetensors; download or write it again";

/// One tensor's line in a header.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    /// How its numbers are written, such as `BF16`.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// First byte, and the byte after the last, counted from the end of the header.
    pub data_offsets: (u64, u64),
}

impl Entry {
    /// The format, if it is one of those that are read here.
    pub(crate) fn stored(&self, name: &str, at: &str) -> Result<Stored, Problem> {
        Stored::from_dtype(&self.dtype).ok_or_else(|| {
            Problem::input(format!("tensor '{name}' has the number format {}", self.dtype))
                .at(at)
                .next("use a copy of the model in F32, F16 or BF16")
        })
    }
}

impl Entry {
    /// The same, or integers: the indices that an adapter names.
    pub(crate) fn stored_or_integers(&self, name: &str, at: &str) -> Result<Stored, Problem> {
        if self.dtype == Stored::I32.dtype() { Ok(Stored::I32) } else { self.stored(name, at) }
    }
}

/// A checked header.
#[derive(Debug)]
pub(crate) struct Header {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Entry>,
    /// Free text by key.
    pub metadata: BTreeMap<String, String>,
    /// The byte of the file where the numbers begin.
    pub data_start: u64,
}

impl Header {
    /// The length of the header, from a file's first bytes.
    pub(crate) fn length(prefix: &[u8], file_size: u64, at: &str) -> Result<u64, Problem> {
        let Some(bytes) = prefix.first_chunk::<8>() else {
            return Err(Problem::input(format!("the file has {file_size} bytes, too few for safetensors"))
                .at(at)
                .next("download or write it again"));
        };
        let length = u64::from_le_bytes(*bytes);
        if length > LONGEST {
            return Err(Problem::input(format!("its header claims {length} bytes")).at(at).next(DAMAGED));
        }
        if PREFIX + length > file_size {
            return Err(truncated(PREFIX + length - file_size, at));
        }
        Ok(length)
    }

    /// Parses the JSON after the prefix and checks it against the size of the file.
    pub(crate) fn parse(json: &[u8], file_size: u64, at: &str) -> Result<Self, Problem> {
        let bad = |what: String| Problem::input(what).at(at).next(DAMAGED);
        let mut raw: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(json).map_err(|e| bad(format!("its header cannot be read: {e}")))?;
        let metadata = match raw.remove("__metadata__") {
            None => BTreeMap::new(),
            Some(value) => {
                serde_json::from_value(value).map_err(|e| bad(format!("__metadata__ cannot be read: {e}")))?
            }
        };
        let mut tensors = BTreeMap::new();
        for (name, value) in raw {
            let entry: Entry = serde_json::from_value(value)
                .map_err(|e| bad(format!("the entry of tensor '{name}' is wrong: {e}")))?;
            check_size(&entry).map_err(|what| bad(format!("tensor '{name}' {what}")))?;
            tensors.insert(name, entry);
        }
        let data_start = PREFIX + json.len() as u64;
        check_layout(&tensors, file_size.saturating_sub(data_start), at)?;
        Ok(Self { tensors, metadata, data_start })
    }

    /// Reads the header of a file that is in memory as a whole.
    pub(crate) fn of(bytes: &[u8], at: &str) -> Result<Self, Problem> {
        let size = bytes.len() as u64;
        let length = Self::length(bytes, size, at)?;
        Self::parse(&bytes[PREFIX as usize..(PREFIX + length) as usize], size, at)
    }
}

fn truncated(lacking: u64, at: &str) -> Problem {
    Problem::input(format!("the file is cut short: {lacking} bytes are missing"))
        .at(at)
        .next("download or copy it again, in full")
}

/// Shape, format and extent of one tensor must agree.
fn check_size(entry: &Entry) -> Result<(), String> {
    let (begin, end) = entry.data_offsets;
    let length = end.checked_sub(begin).ok_or_else(|| format!("ends at byte {end} before it begins at {begin}"))?;
    let Some(bytes) = dtype_bytes(&entry.dtype) else { return Ok(()) };
    let want = entry.shape.iter().try_fold(bytes, |product, &n| product.checked_mul(n as u64));
    if want == Some(length) {
        return Ok(());
    }
    let Entry { dtype, shape, .. } = entry;
    Err(format!("has shape {shape:?} in {dtype}, which does not fit its {length} bytes"))
}

/// Tensors lie one after the other and fill the file. This also catches a name that the header holds twice.
fn check_layout(tensors: &BTreeMap<String, Entry>, available: u64, at: &str) -> Result<(), Problem> {
    let mut spans: Vec<_> = tensors.iter().map(|(name, e)| (e.data_offsets, name)).collect();
    spans.sort();
    let mut reached = 0;
    for ((begin, end), name) in spans {
        if begin != reached {
            return Err(Problem::input(format!("tensor '{name}' begins at byte {begin} instead of {reached}"))
                .at(at)
                .next(DAMAGED));
        }
        reached = end;
    }
    if reached > available {
        return Err(truncated(reached - available, at));
    }
    if reached < available {
        let extra = available - reached;
        return Err(Problem::input(format!("{extra} bytes at its end belong to no tensor")).at(at).next(DAMAGED));
    }
    Ok(())
}

/// Bytes of one number; `None` for formats whose numbers are not whole bytes, or that are not known.
fn dtype_bytes(dtype: &str) -> Option<u64> {
    match dtype {
        "F64" | "I64" | "U64" | "C64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(std::iter::repeat_n(0, data));
        bytes
    }

    #[test]
    fn reads_a_good_header() {
        let text = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},
            "a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#;
        let header = Header::of(&file(text, 12), "f").unwrap();
        assert_eq!(header.tensors["a"].shape, [2, 1]);
        assert_eq!(header.tensors["b"].stored("b", "f").unwrap(), Stored::F16);
        assert_eq!(header.metadata["format"], "pt");
        assert_eq!(header.data_start, 8 + text.len() as u64);
    }

    #[test]
    fn damage_is_named() {
        let a = |shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let two = |begin: u64, end: u64| {
            format!(
                r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}}}"#,
                end - begin
            )
        };
        let cases = [
            (vec![1, 2, 3], "too few"),
            (file(&a("[2]", "[0,8]"), 5), "3 bytes are missing"),
            (file(&a("[2]", "[0,8]"), 9), "1 bytes at its end"),
            (file(&a("[2]", "[0,8]"), 8)[..30].to_vec(), "bytes are missing"),
            (u64::MAX.to_le_bytes().to_vec(), "claims 18446744073709551615 bytes"),
            (1000u64.to_le_bytes().to_vec(), "1000 bytes are missing"),
            (file(&a("[3]", "[0,8]"), 8), "shape [3] in F32, which does not fit its 8 bytes"),
            (file(&a("[4611686018427387904]", "[0,8]"), 8), "does not fit"),
            (file(&a("[2]", "[8,0]"), 8), "before it begins"),
            (file(&two(6, 10), 10), "'b' begins at byte 6 instead of 8"),
            (file(&two(10, 12), 12), "'b' begins at byte 10 instead of 8"),
            (file("not json", 0), "header cannot be read"),
            (file("[]", 0), "header cannot be read"),
            (file(r#"{"a":{"dtype":"F32"}}"#, 0), "entry of tensor 'a'"),
            (file(r#"{"__metadata__":{"x":1}}"#, 0), "__metadata__"),
        ];
        for (bytes, want) in cases {
            let problem = Header::of(&bytes, "model.safetensors").unwrap_err();
            assert!(problem.what.contains(want), "{want}: {problem:?}");
            assert!(problem.at == "model.safetensors" && !problem.next.is_empty(), "{problem:?}");
        }
    }

    #[test]
    fn other_formats_are_named_when_read() {
        let text = r#"{"mask":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}"#;
        let header = Header::of(&file(text, 3), "f").unwrap();
        let problem = header.tensors["mask"].stored("mask", "f").unwrap_err();
        assert_eq!(problem.what, "tensor 'mask' has the number format BOOL");
    }
}
