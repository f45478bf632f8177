//! A GGUF model, opened by its headers: its metadata, and rows of its tensors as they stand.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use stratune_protocol::Problem;

use super::block_type::BlockType;
use super::header::{Entry, Header};
use super::reader::DAMAGED;
use super::value::{Element, GgufValue};
use crate::folder::{Folder, place};

/// A GGUF model of one file or several.
pub struct Gguf {
    folder: Rc<dyn Folder>,
    files: Vec<String>,
    metadata: Value,
    /// The types of its values, or of the elements of lists.
    types: BTreeMap<String, Element>,
    /// By name, with which of the files each is in.
    tensors: BTreeMap<String, (usize, Entry)>,
    digest: Vec<u8>,
}

impl Gguf {
    /// Reads the headers of a model's files, the parts of a split one in their order; no weight.
    ///
    /// # Errors
    /// One of them is damaged or no GGUF file, or they are not the parts of one model.
    pub async fn open(folder: Rc<dyn Folder>, files: Vec<String>) -> Result<Self, Problem> {
        let (mut metadata, mut types) = (Map::new(), BTreeMap::new());
        let mut tensors: BTreeMap<String, (usize, Entry)> = BTreeMap::new();
        let mut hash = Sha256::new();
        for (number, name) in files.iter().enumerate() {
            let header = Header::read(&*folder, name).await?;
            check_part(&header.metadata, number, files.len(), &place(&*folder, name))?;
            hash.update(&header.digest);
            for entry in header.tensors {
                if let Some((first, _)) = tensors.get(&entry.name) {
                    let what = format!("tensor '{}' is in two files: {} and {name}", entry.name, files[*first]);
                    return Err(Problem::input(what).at(folder.label()).next(DAMAGED));
                }
                tensors.insert(entry.name.clone(), (number, entry));
            }
            if number == 0 {
                (metadata, types) = (header.metadata, header.types);
            }
        }
        let metadata = Value::Object(metadata);
        let file = Self { folder, files, metadata, types, tensors, digest: hash.finalize().to_vec() };
        match file.metadata["split.tensors.count"].as_u64() {
            Some(count) if count != file.tensors.len() as u64 => {
                let what = format!("the parts have {} tensors together instead of {count}", file.tensors.len());
                Err(Problem::input(what).at(file.label()).next("put all parts of one split file in one folder"))
            }
            _ => Ok(file),
        }
    }

    /// What to call it in a message: its first file.
    pub fn label(&self) -> String {
        self.files.first().map_or_else(|| self.folder.label(), |name| place(&*self.folder, name))
    }

    /// What it says of itself: an object, by key.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// What it says under a key, with the type that it says it in.
    pub fn value(&self, key: &str) -> Option<GgufValue> {
        let value = self.metadata.get(key)?.clone();
        Some(GgufValue { element: *self.types.get(key)?, value })
    }

    /// The shapes of its tensors by name, outermost size first.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.tensors.iter().map(|(name, (_, entry))| (name.clone(), entry.shape.clone())).collect()
    }

    /// How a tensor is written, if there is one of that name.
    pub fn block_type(&self, name: &str) -> Option<BlockType> {
        self.tensors.get(name).map(|(_, entry)| entry.kind)
    }

    /// SHA-256 of all headers.
    pub(crate) fn digest(&self) -> &[u8] {
        &self.digest
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(_, entry)| entry.shape.as_slice())
    }

    /// Bytes of a tensor, counted from its first.
    ///
    /// # Errors
    /// There is no such tensor, or it has fewer.
    pub(crate) async fn bytes(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, Problem> {
        let absent = || {
            Problem::input(format!("the file has no tensor '{name}' of {} bytes", range.end))
                .at(self.label())
                .next(DAMAGED)
        };
        let (number, entry) = self.tensors.get(name).ok_or_else(absent)?;
        let there = &entry.bytes;
        if range.start > range.end || range.end > there.end - there.start {
            return Err(absent());
        }
        self.folder.read(&self.files[*number], Some(there.start + range.start..there.start + range.end)).await
    }

    /// Bytes of a tensor.
    pub(crate) fn size(&self, name: &str) -> u64 {
        self.tensors.get(name).map_or(0, |(_, entry)| entry.bytes.end - entry.bytes.start)
    }
}

/// The first part has no number only if there is but one.
fn check_part(metadata: &Map<String, Value>, number: usize, parts: usize, at: &str) -> Result<(), Problem> {
    let says = |key: &str| metadata.get(key).and_then(Value::as_u64);
    let (no, count) = (says("split.no"), says("split.count"));
    let alone = parts == 1 && matches!((no, count), (None | Some(0), None | Some(0 | 1)));
    if alone || (no, count) == (Some(number as u64), Some(parts as u64)) {
        return Ok(());
    }
    let shown = |value: Option<u64>| value.map_or("none".into(), |value| value.to_string());
    let what = format!(
        "it says that it is part {} of {}, counted from 0, and was opened as part {number} of {parts}",
        shown(no),
        shown(count)
    );
    Err(Problem::input(what).at(at).next("keep the names that the parts of a split file came with, all in one folder"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;

    use pollster::block_on;

    use super::*;
    use crate::folder::MemoryFolder;
    use crate::gguf::write::Writer;

    const NAMES: [&str; 2] = ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"];

    fn part(no: u16, count: u16) -> Writer {
        let writer = Writer::default().key("split.no", 2, &no.to_le_bytes());
        writer.key("split.count", 2, &count.to_le_bytes()).key("split.tensors.count", 5, &2_i32.to_le_bytes())
    }

    fn open(parts: [Writer; 2]) -> Result<Gguf, Problem> {
        let files = NAMES.iter().zip(parts).map(|(name, part)| (name.to_string(), Cow::Owned(part.bytes())));
        let folder = MemoryFolder::new("toy", files.collect());
        block_on(Gguf::open(Rc::new(folder), NAMES.map(String::from).into()))
    }

    #[test]
    fn parts_are_one_model() {
        let file =
            open([part(0, 2).word("k", "v").floats("x", &[1], &[1.0]), part(1, 2).floats("y", &[2], &[2.0, 3.0])]);
        let file = file.unwrap();
        assert_eq!(file.metadata()["k"], "v");
        assert_eq!(file.shapes(), [("x".to_string(), vec![1]), ("y".to_string(), vec![2])].into());
        assert_eq!(block_on(file.vector("y")).unwrap(), [2.0, 3.0]);
        assert_eq!(block_on(file.bytes("y", 4..8)).unwrap(), 3.0_f32.to_le_bytes());
        assert!(block_on(file.bytes("y", 4..9)).is_err() && block_on(file.bytes("z", 0..0)).is_err());
        assert_eq!(file.label(), "toy/a-00001-of-00002.gguf");
    }

    #[test]
    fn parts_of_something_else_are_refused() {
        let (x, y) = (|w: Writer| w.floats("x", &[1], &[1.0]), |w: Writer| w.floats("y", &[1], &[1.0]));
        for (parts, why) in [
            ([x(part(1, 2)), y(part(0, 2))], "part 1 of 2, counted from 0, and was opened as part 0 of 2"),
            ([x(part(0, 3)), y(part(1, 3))], "part 0 of 3"),
            ([x(Writer::default()), y(part(1, 2))], "part none of none"),
            ([x(part(0, 2)), x(part(1, 2))], "'x' is in two files"),
            ([x(part(0, 2)), part(1, 2)], "1 tensors together instead of 2"),
        ] {
            let problem = open(parts).err().unwrap();
            assert!(problem.what.contains(why) && !problem.next.is_empty(), "{why}: {problem:?}");
        }
        let first = MemoryFolder::new("toy", vec![("a.gguf".into(), Cow::Owned(part(0, 2).bytes()))]);
        let alone = block_on(Gguf::open(Rc::new(first), vec!["a.gguf".into()])).err().unwrap();
        assert!(alone.what.contains("part 0 of 2"), "{alone}");
    }
}
