//! Whole safetensors files, to and from bytes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stratune_protocol::{Problem, ProblemKind};

use crate::header::Header;
use crate::tensor::{HostTensor, Stored};

/// Tensors by name.
pub type Tensors = BTreeMap<String, HostTensor>;

/// Writes a file with `metadata`, to which `{"format": "pt"}` is added because readers expect it.
pub fn write_safetensors(
    tensors: &Tensors,
    stored: Stored,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, Problem> {
    write_each(tensors, |_| stored, metadata)
}

/// The same, each tensor as its name says.
pub(crate) fn write_each(
    tensors: &Tensors,
    stored: impl Fn(&str) -> Stored,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, Problem> {
    let mut metadata = metadata.clone();
    metadata.insert("format".into(), "pt".into());
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!(metadata));
    let mut begin = 0;
    for (name, tensor) in tensors {
        let HostTensor { shape, data } = tensor;
        let count = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if count != Some(data.len()) || name == "__metadata__" {
            let what = format!("tensor '{name}' of shape {shape:?} and {} numbers cannot be written", data.len());
            return Err(Problem::new(ProblemKind::Internal, what).next("please report this"));
        }
        let stored = stored(name);
        let end = begin + data.len() * stored.bytes();
        header.insert(name.clone(), json!({"dtype": stored.dtype(), "shape": shape, "data_offsets": [begin, end]}));
        begin = end;
    }
    let mut text = Value::Object(header).to_string();
    // The numbers begin at a multiple of eight bytes, so that a reader can map them in place.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut bytes = Vec::with_capacity(8 + text.len() + begin);
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    for (name, tensor) in tensors {
        stored(name).encode(&tensor.data, name, &mut bytes)?;
    }
    Ok(bytes)
}

/// Reads a file's tensors and its metadata; `at` names the file in messages.
pub fn read_safetensors(bytes: &[u8], at: &str) -> Result<(Tensors, BTreeMap<String, String>), Problem> {
    let header = Header::of(bytes, at)?;
    let data = &bytes[header.data_start as usize..];
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.tensors {
        let stored = entry.stored_or_integers(&name, at)?;
        let (begin, end) = entry.data_offsets;
        let data = stored.decode(&data[begin as usize..end as usize], 0, &name, at)?;
        tensors.insert(name, HostTensor { shape: entry.shape, data });
    }
    Ok((tensors, header.metadata))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample() -> Tensors {
        [
            ("w", HostTensor { shape: vec![2, 3], data: vec![1.0, 2.0, -3.0, 0.5, 0.0, 8.0] }),
            ("empty", HostTensor { shape: vec![0, 4], data: vec![] }),
            ("scalar", HostTensor { shape: vec![], data: vec![7.0] }),
        ]
        .into_iter()
        .map(|(name, tensor)| (name.to_string(), tensor))
        .collect()
    }

    #[test]
    fn comes_back_and_the_reference_reader_agrees() {
        let metadata: BTreeMap<_, _> = [("note".to_string(), "a \"b\"".to_string())].into();
        for stored in [Stored::F32, Stored::F16, Stored::BF16] {
            let bytes = write_safetensors(&sample(), stored, &metadata).unwrap();
            let (tensors, read_metadata) = read_safetensors(&bytes, "f").unwrap();
            assert_eq!(tensors, sample());
            assert_eq!(read_metadata["note"], "a \"b\"");
            assert_eq!(read_metadata["format"], "pt");
            let reference = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(reference.len(), 3);
            let w = reference.tensor("w").unwrap();
            assert_eq!(w.shape(), [2, 3]);
            assert_eq!(w.dtype().to_string(), stored.dtype());
            assert_eq!(w.data().len(), 6 * stored.bytes());
        }
    }

    #[test]
    fn whole_numbers_are_written_as_such_and_nothing_else_is() {
        let places =
            |data: Vec<f32>| -> Tensors { [("at".into(), HostTensor { shape: vec![data.len()], data })].into() };
        let whole = places(vec![0.0, 7.0, 16_777_216.0, -3.0]);
        let bytes = write_safetensors(&whole, Stored::I32, &BTreeMap::new()).unwrap();
        assert_eq!(
            ::safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor("at").unwrap().dtype().to_string(),
            "I32"
        );
        assert_eq!(read_safetensors(&bytes, "f").unwrap().0, whole);
        for part in [0.5, 3e9, 16_777_218.0] {
            let problem = write_safetensors(&places(vec![part]), Stored::I32, &BTreeMap::new()).unwrap_err();
            assert!(problem.what.contains("int32 cannot hold"), "{problem}");
        }
        // What a float cannot hold exactly would be another index.
        let mut large = bytes.clone();
        let end = large.len() - 16;
        large[end..end + 4].copy_from_slice(&16_777_217_i32.to_le_bytes());
        assert!(read_safetensors(&large, "f").unwrap_err().what.contains("16777217"));
    }

    #[test]
    fn a_shape_that_does_not_fit_is_refused() {
        let bad: BTreeMap<_, _> = [("w".to_string(), HostTensor { shape: vec![3], data: vec![1.0] })].into();
        assert!(write_safetensors(&bad, Stored::F32, &BTreeMap::new()).unwrap_err().what.contains("shape [3]"));
    }

    #[test]
    fn no_damage_panics() {
        let bytes = write_safetensors(&sample(), Stored::F32, &BTreeMap::new()).unwrap();
        for end in 0..bytes.len() {
            assert!(read_safetensors(&bytes[..end], "f").is_err(), "cut at {end}");
        }
        for i in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[i] ^= 0x10;
            // Either still a file or an error; what counts is that it returns.
            let _ = read_safetensors(&bent, "f");
        }
    }
}
