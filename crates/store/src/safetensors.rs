//! Whole safetensors files, to and from bytes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stratune_protocol::{Problem, ProblemKind};

use crate::header::Header;
use crate::sink::Sink;
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
    for (name, HostTensor { shape, data }) in tensors {
        let count = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if count != Some(data.len()) || name == "__metadata__" {
            let what = format!("tensor '{name}' of shape {shape:?} and {} numbers cannot be written", data.len());
            return Err(Problem::new(ProblemKind::Internal, what).next("please report this"));
        }
    }
    let entries = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice(), stored(name)));
    let mut bytes = front(entries, metadata);
    // At once: a file that grows is there twice for a while.
    bytes.reserve_exact(tensors.iter().map(|(name, tensor)| tensor.data.len() * stored(name).bytes()).sum());
    for (name, tensor) in tensors {
        stored(name).encode(&tensor.data, name, &mut bytes)?;
    }
    Ok(bytes)
}

/// All bytes of a file before its numbers, of tensors that come in this order.
fn front<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize], Stored)>,
    metadata: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mut metadata = metadata.clone();
    metadata.insert("format".into(), "pt".into());
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!(metadata));
    let mut begin = 0;
    for (name, shape, stored) in tensors {
        let end = begin + shape.iter().product::<usize>() as u64 * stored.bytes() as u64;
        header.insert(name.into(), json!({"dtype": stored.dtype(), "shape": shape, "data_offsets": [begin, end]}));
        begin = end;
    }
    let mut text = Value::Object(header).to_string();
    // The numbers begin at a multiple of eight bytes, so that a reader can map them in place.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A file on its way into a sink, a part of a tensor at a time.
pub struct SafetensorsWriter<'a> {
    sink: &'a mut dyn Sink,
    stored: Stored,
    /// Numbers that are still to come, of all tensors.
    left: u64,
    bytes: Vec<u8>,
}

impl<'a> SafetensorsWriter<'a> {
    /// Begins the file of these tensors, which will come in this order.
    ///
    /// # Errors
    /// The sink does not take it.
    pub async fn begin(
        sink: &'a mut dyn Sink,
        name: &str,
        tensors: &[(String, Vec<usize>)],
        stored: Stored,
    ) -> Result<Self, Problem> {
        let entries = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice(), stored));
        let front = front(entries, &BTreeMap::new());
        let left = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
        sink.begin(name).await?;
        sink.write(&front).await?;
        Ok(Self { sink, stored, left, bytes: Vec::new() })
    }

    /// The next numbers; `name` is that of their tensor, for messages.
    ///
    /// # Errors
    /// A number cannot be written, there are more than the tensors have, or the sink does not take them.
    pub async fn add(&mut self, name: &str, numbers: &[f32]) -> Result<(), Problem> {
        self.left = self.left.checked_sub(numbers.len() as u64).ok_or_else(|| {
            let what = format!("tensor '{name}' comes with more numbers than there are");
            Problem::new(ProblemKind::Internal, what).next("please report this")
        })?;
        self.bytes.clear();
        self.stored.encode(numbers, name, &mut self.bytes)?;
        self.sink.write(&self.bytes).await
    }

    /// The file is complete.
    ///
    /// # Errors
    /// It is not: a tensor has not come.
    pub fn finish(self) -> Result<(), Problem> {
        match self.left {
            0 => Ok(()),
            left => {
                let what = format!("{left} numbers of the file have not come");
                Err(Problem::new(ProblemKind::Internal, what).next("please report this"))
            }
        }
    }
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
    use crate::sink::MemorySink;

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
    fn in_parts_it_is_the_same_file() {
        let whole = write_safetensors(&sample(), Stored::F16, &BTreeMap::new()).unwrap();
        let mut sink = MemorySink::default();
        let tensors: Vec<_> = sample().into_iter().map(|(name, tensor)| (name, tensor.shape)).collect();
        pollster::block_on(async {
            let mut writer = SafetensorsWriter::begin(&mut sink, "f", &tensors, Stored::F16).await.unwrap();
            for (name, tensor) in sample() {
                for part in tensor.data.chunks(4) {
                    writer.add(&name, part).await.unwrap();
                }
            }
            assert!(writer.add("w", &[1.0]).await.is_err());
            writer.finish().unwrap();
        });
        assert_eq!(sink.files, [("f".to_string(), whole)]);
        let writer = pollster::block_on(SafetensorsWriter::begin(&mut sink, "f", &tensors, Stored::F16)).unwrap();
        assert!(writer.finish().unwrap_err().what.contains("7 numbers"));
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
