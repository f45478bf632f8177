//! A checkpoint as one safetensors file that proves its own integrity.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use stratune_protocol::Problem;

use crate::folder::{Folder, place};
use crate::header::{Header, PREFIX};
use crate::safetensors::{read_safetensors, write_safetensors};
use crate::tensor::{HostTensor, Stored};

const VERSION: &str = "1";

/// All that a run needs to go on: its tensors, and the rest as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Weights and optimiser state by name.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Everything that is not a tensor.
    pub meta: Value,
}

impl Checkpoint {
    /// The file's bytes: f32 tensors, the rest and a SHA-256 over both in the metadata.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Problem> {
        let meta = self.meta.to_string();
        let metadata = [
            ("stratune_checkpoint".to_string(), VERSION.to_string()),
            ("sha256".to_string(), digest(&meta, &self.tensors)),
            ("meta".to_string(), meta),
        ];
        write_safetensors(&self.tensors, Stored::F32, &metadata.into())
    }

    /// Reads a file's bytes; `at` names it in messages. A file that is cut short or altered is an error.
    pub fn from_bytes(bytes: &[u8], at: &str) -> Result<Self, Problem> {
        const NEXT: &str = "use another copy of the checkpoint, or start the run anew";
        let bad = |what: &str| Problem::input(what).at(at).next(NEXT);
        let (tensors, metadata) = read_safetensors(bytes, at).map_err(|p| p.next(NEXT))?;
        let field = |key: &str| metadata.get(key).map(String::as_str);
        match field("stratune_checkpoint") {
            Some(VERSION) => {}
            Some(other) => {
                let what = format!("the checkpoint has version {other}, and this program reads version {VERSION}");
                return Err(Problem::input(what).at(at).next("use the version of Stratune that wrote it"));
            }
            None => return Err(bad("the file is not a checkpoint of Stratune")),
        }
        let meta = field("meta").ok_or_else(|| bad("the checkpoint lacks its field 'meta'"))?;
        if field("sha256") != Some(&digest(meta, &tensors)) {
            return Err(bad("the checkpoint is damaged: its contents do not match its checksum"));
        }
        let meta = serde_json::from_str(meta).map_err(|e| bad(&format!("field 'meta' cannot be read: {e}")))?;
        Ok(Self { tensors, meta })
    }
}

impl Checkpoint {
    /// What of a checkpoint's file is not tensors, read without them and not checked against its checksum; none if there is no
    /// such file.
    ///
    /// # Errors
    /// It cannot be read, or is no checkpoint.
    pub async fn read_meta(folder: &dyn Folder, name: &str) -> Result<Option<Value>, Problem> {
        let Some(size) = folder.size(name) else { return Ok(None) };
        let at = place(folder, name);
        let prefix = folder.read(name, Some(0..PREFIX.min(size))).await?;
        let length = Header::length(&prefix, size, &at)?;
        let header = Header::parse(&folder.read(name, Some(PREFIX..PREFIX + length)).await?, size, &at)?;
        let meta = header.metadata.get("meta").and_then(|meta| serde_json::from_str(meta).ok());
        let absent =
            || Problem::input("the file is not a checkpoint of Stratune").at(&at).next("use another copy of it");
        meta.map(Some).ok_or_else(absent)
    }
}

/// SHA-256 over all that a checkpoint holds. Each part goes in with its length, so that no two contents run together.
fn digest(meta: &str, tensors: &BTreeMap<String, HostTensor>) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    add(meta);
    for (name, tensor) in tensors {
        add(name);
        add(&format!("{:?}", tensor.shape));
    }
    let mut buffer = Vec::with_capacity(4096);
    for chunk in tensors.values().flat_map(|t| t.data.chunks(1024)) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|x| x.to_le_bytes()));
        hash.update(&buffer);
    }
    hex(&hash.finalize())
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn sample(step: u64) -> Checkpoint {
        let tensor = HostTensor { shape: vec![2, 2], data: vec![1.0, -2.0, 0.1, step as f32] };
        // 0.1 + 0.2 is a number whose last digit is easily lost on the way through text.
        Checkpoint {
            tensors: [("layers.0.a".to_string(), tensor)].into(),
            meta: json!({"step": step, "seed": u64::MAX, "loss": 0.1 + 0.2}),
        }
    }

    #[test]
    fn comes_back_exactly() {
        let checkpoint = sample(7);
        assert_eq!(Checkpoint::from_bytes(&checkpoint.to_bytes().unwrap(), "c").unwrap(), checkpoint);
        let empty = Checkpoint { tensors: BTreeMap::new(), meta: Value::Null };
        assert_eq!(Checkpoint::from_bytes(&empty.to_bytes().unwrap(), "c").unwrap(), empty);
    }

    #[test]
    fn its_record_is_read_without_its_tensors() {
        let files = vec![
            ("c".to_string(), sample(7).to_bytes().unwrap().into()),
            ("d".into(), b"no checkpoint".as_slice().into()),
        ];
        let folder = crate::folder::MemoryFolder::new("toy", files);
        let meta = |name: &str| pollster::block_on(Checkpoint::read_meta(&folder, name));
        assert_eq!(meta("c").unwrap(), Some(sample(7).meta));
        assert_eq!(meta("e").unwrap(), None);
        assert!(meta("d").is_err());
    }

    #[test]
    fn every_damage_is_found() {
        let good = sample(7);
        let bytes = good.to_bytes().unwrap();
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut bent = bytes.clone();
                bent[i] ^= 1 << bit;
                // A flip in text that carries nothing (the word "pt", a space of padding) may leave the contents whole.
                if let Ok(read) = Checkpoint::from_bytes(&bent, "c") {
                    assert_eq!(read, good, "byte {i} bit {bit}");
                }
            }
            assert!(Checkpoint::from_bytes(&bytes[..i], "c").is_err(), "cut at {i}");
        }
        let mut bent = bytes.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert!(Checkpoint::from_bytes(&bent, "c").unwrap_err().what.contains("checksum"));
    }

    #[test]
    fn other_files_are_told_apart() {
        let plain = write_safetensors(&BTreeMap::new(), Stored::F32, &BTreeMap::new()).unwrap();
        assert!(Checkpoint::from_bytes(&plain, "c").unwrap_err().what.contains("not a checkpoint"));
        let newer = [("stratune_checkpoint".to_string(), "2".to_string())].into();
        let newer = write_safetensors(&BTreeMap::new(), Stored::F32, &newer).unwrap();
        assert!(Checkpoint::from_bytes(&newer, "c").unwrap_err().what.contains("version 2"));
    }
}
