//! The header of a GGUF file: metadata, and which tensors it holds and where. Checked in full before a number is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Map, Value};
use stratune_protocol::Problem;

use super::block_type::BlockType;
use super::reader::Reader;
use super::value::{Element, GgufValue};
use crate::folder::Folder;

/// Where tensors begin unless the file says otherwise: at multiples of so many bytes.
const ALIGNMENT: u64 = 32;
const LARGEST_ALIGNMENT: u64 = 1 << 20;

/// Bytes of a key or a tensor's name, at most.
const LONGEST_KEY: usize = 65_535;
const LONGEST_NAME: usize = 63;

/// Fewest bytes of a key with its value, and of a tensor's entry.
const LEAST_KEY: u64 = 8 + 1 + 4 + 1;
const LEAST_ENTRY: u64 = 8 + 1 + 4 + 4 + 8;

/// Most numbers of a tensor that are believed.
const MOST_NUMBERS: u64 = 1 << 40;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub kind: BlockType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub bytes: Range<u64>,
}

/// What a file says before its numbers.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: Map<String, Value>,
    /// The types of its values, or of the elements of lists.
    pub types: BTreeMap<String, Element>,
    pub tensors: Vec<Entry>,
    /// SHA-256 of the header as it stands.
    pub digest: Vec<u8>,
}

impl Header {
    /// Reads the front of a file of a folder.
    ///
    /// # Errors
    /// It is no GGUF file, damaged, cut short, or has tensors of a type that is not read.
    pub async fn read(folder: &dyn Folder, name: &str) -> Result<Self, Problem> {
        let mut reader = Reader::new(folder, name)?;
        check_version(&mut reader).await?;
        let tensors = reader.count(LEAST_ENTRY, "tensors").await?;
        let keys = reader.count(LEAST_KEY, "keys").await?;
        let (metadata, types) = read_metadata(&mut reader, keys).await?;
        let alignment = alignment(&reader, metadata.get("general.alignment"))?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut names = BTreeSet::new();
        let mut reached = 0_u64;
        for _ in 0..tensors {
            let entry = read_entry(&mut reader, reached).await?;
            if !names.insert(entry.name.clone()) {
                return Err(reader.bad(format!("tensor '{}' is there twice", entry.name)));
            }
            reached =
                entry.bytes.end.checked_next_multiple_of(alignment).ok_or_else(|| too_large(&reader, &entry.name))?;
            entries.push(entry);
        }
        let start = reader.position().next_multiple_of(alignment);
        for entry in &mut entries {
            let end = entry.bytes.end.checked_add(start).ok_or_else(|| too_large(&reader, &entry.name))?;
            entry.bytes = entry.bytes.start + start..end;
            if end > reader.size {
                let lacking = end - reader.size;
                let what =
                    format!("the file is cut short: {lacking} bytes up to the end of '{}' are missing", entry.name);
                return Err(Problem::input(what).at(&reader.at).next("download or copy it again, in full"));
            }
        }
        Ok(Self { metadata, types, tensors: entries, digest: reader.digest().as_ref().to_vec() })
    }
}

fn too_large(reader: &Reader<'_>, name: &str) -> Problem {
    reader.bad(format!("tensor '{name}' is larger than any file"))
}

async fn check_version(reader: &mut Reader<'_>) -> Result<(), Problem> {
    if reader.take(4, "the name of the format").await? != b"GGUF" {
        return Err(reader.bad("the file does not begin as GGUF does"));
    }
    let next = "convert the model again with a llama.cpp of today, for a machine of today";
    let refused = |reader: &Reader<'_>, what: String| Err(Problem::input(what).at(&reader.at).next(next));
    match reader.u32("the version").await? {
        2 | 3 => Ok(()),
        version if version & 0xffff == 0 => {
            refused(reader, "the file is written high byte first, which is not read".into())
        }
        version => refused(reader, format!("the file is of version {version} of GGUF, and 2 and 3 are read")),
    }
}

async fn read_metadata(
    reader: &mut Reader<'_>,
    keys: u64,
) -> Result<(Map<String, Value>, BTreeMap<String, Element>), Problem> {
    let (mut metadata, mut types) = (Map::new(), BTreeMap::new());
    for _ in 0..keys {
        let key = reader.text("a key").await?;
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(reader.bad(format!("a key has {} bytes", key.len())));
        }
        let GgufValue { element, value } = reader.value(&key).await?;
        types.insert(key.clone(), element);
        if metadata.insert(key.clone(), value).is_some() {
            return Err(reader.bad(format!("the key {key} is there twice")));
        }
    }
    Ok((metadata, types))
}

fn alignment(reader: &Reader<'_>, value: Option<&Value>) -> Result<u64, Problem> {
    let Some(value) = value else { return Ok(ALIGNMENT) };
    let sound = |alignment: &u64| alignment.is_power_of_two() && *alignment <= LARGEST_ALIGNMENT;
    value.as_u64().filter(sound).ok_or_else(|| {
        let shown: String = value.to_string().chars().take(40).collect();
        reader.bad(format!("general.alignment is {shown}, and not a power of two up to {LARGEST_ALIGNMENT}"))
    })
}

/// The next tensor, which must begin where those before it have `reached`, counted from where the numbers begin.
async fn read_entry(reader: &mut Reader<'_>, reached: u64) -> Result<Entry, Problem> {
    let name = reader.text("a tensor's name").await?;
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(reader.bad(format!("a tensor's name has {} bytes", name.len())));
    }
    let dimensions = reader.u32(&name).await?;
    if !(1..=4).contains(&dimensions) {
        return Err(reader.bad(format!("tensor '{name}' has {dimensions} dimensions")));
    }
    let mut shape = Vec::new();
    let mut count = 1_u64;
    for _ in 0..dimensions {
        let size = reader.u64(&name).await?;
        let product = count.checked_mul(size).filter(|product| *product <= MOST_NUMBERS && size > 0);
        count = product.ok_or_else(|| reader.bad(format!("tensor '{name}' has {size} in a dimension")))?;
        // Innermost first in the file.
        shape.insert(0, usize::try_from(size).map_err(|_| too_large(reader, &name))?);
    }
    let id = reader.u32(&name).await?;
    let kind = BlockType::from_id(id).map_err(|(what, next)| {
        Problem::input(format!("tensor '{name}' {what}, which is not read")).at(&reader.at).next(next)
    })?;
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.length()) {
        let what = format!("tensor '{name}' has rows of {row} in {}, whose blocks have {}", kind.name(), kind.length());
        return Err(reader.bad(what));
    }
    let begin = reader.u64(&name).await?;
    if begin != reached {
        return Err(reader.bad(format!("tensor '{name}' begins at byte {begin} instead of {reached}")));
    }
    let bytes = kind.bytes_of(count).and_then(|bytes| begin.checked_add(bytes));
    let end = bytes.ok_or_else(|| too_large(reader, &name))?;
    Ok(Entry { name, kind, shape, bytes: begin..end })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;

    use pollster::block_on;
    use serde_json::json;

    use super::*;
    use crate::folder::MemoryFolder;
    use crate::gguf::write::{Writer, text};

    fn read(bytes: Vec<u8>) -> Result<Header, Problem> {
        let folder = MemoryFolder::new("toy", vec![("a.gguf".into(), Cow::Owned(bytes))]);
        block_on(Header::read(&folder, "a.gguf"))
    }

    /// One of each type of value, and two tensors.
    fn sample() -> Writer {
        let list = [
            6_u32.to_le_bytes().to_vec(),
            2_u64.to_le_bytes().to_vec(),
            [0.1_f32, -2.0].map(f32::to_le_bytes).concat(),
        ];
        Writer::default()
            .word("general.architecture", "toy")
            .key("u8", 0, &[200])
            .key("i8", 1, &[255])
            .key("u16", 2, &65_535_u16.to_le_bytes())
            .key("i16", 3, &(-2_i16).to_le_bytes())
            .u32("u32", 7)
            .key("i32", 5, &(-3_i32).to_le_bytes())
            .key("f32", 6, &1e-5_f32.to_le_bytes())
            .key("nan", 6, &f32::NAN.to_le_bytes())
            .key("bool", 7, &[1])
            .texts("texts", &["a", "", "ü"])
            .key("list", 9, &list.concat())
            .key("u64", 10, &u64::MAX.to_le_bytes())
            .key("i64", 11, &(-4_i64).to_le_bytes())
            .key("f64", 12, &0.25_f64.to_le_bytes())
            .floats("v", &[3], &[1.0, 2.0, 3.0])
            .tensor_of("m", &[32, 2], 8, vec![7; 68])
    }

    #[test]
    fn values_and_tensors_are_read() {
        let header = read(sample().bytes()).unwrap();
        let want = json!({"general.architecture": "toy", "u8": 200, "i8": -1, "u16": 65535, "i16": -2, "u32": 7, "i32": -3,
            "f32": 1e-5, "nan": null, "bool": true, "texts": ["a", "", "ü"], "list": [0.1, -2.0], "u64": u64::MAX,
            "i64": -4, "f64": 0.25});
        assert_eq!(Value::Object(header.metadata), want);
        let [v, m] = &header.tensors[..] else { panic!("{:?}", header.tensors) };
        assert_eq!((v.name.as_str(), v.kind, v.shape.as_slice()), ("v", BlockType::F32, &[3][..]));
        assert_eq!((m.name.as_str(), m.kind, m.shape.as_slice()), ("m", BlockType::Q8_0, &[2, 32][..]));
        assert_eq!((v.bytes.end - v.bytes.start, m.bytes.end - m.bytes.start), (12, 68));
        assert_eq!((v.bytes.start % 32, m.bytes.start), (0, v.bytes.start + 32));
        assert_eq!(m.bytes.end, sample().bytes().len() as u64);
    }

    #[test]
    fn version_two_is_the_same_and_others_are_refused() {
        let of_version = |version: u32| {
            let mut bytes = sample().bytes();
            bytes[4..8].copy_from_slice(&version.to_le_bytes());
            read(bytes)
        };
        assert_eq!(of_version(2).unwrap().tensors.len(), 2);
        for (version, why) in [(1, "version 1"), (4, "version 4"), (3 << 24, "high byte first")] {
            let problem = of_version(version).unwrap_err();
            assert!(problem.what.contains(why) && problem.next.contains("llama.cpp"), "{problem:?}");
        }
    }

    #[test]
    fn the_alignment_is_the_files_own() {
        let aligned = |alignment: u32| read(sample().u32("general.alignment", alignment).bytes());
        assert!(aligned(32).is_ok());
        for bad in [0, 3, 1 << 21] {
            assert!(aligned(bad).unwrap_err().what.contains("general.alignment"), "{bad}");
        }
        // The second tensor would begin elsewhere.
        assert!(aligned(64).unwrap_err().what.contains("'m' begins at byte 32 instead of 64"));
        let text = read(sample().word("general.alignment", &"x".repeat(900)).bytes()).unwrap_err();
        assert!(text.what.len() < 200);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let plain = Writer::default;
        let many = |kind: u32, count: u64| [kind.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat();
        let cases = [
            (b"GGML".to_vec(), "begin as GGUF"),
            (plain().word("", "x").bytes(), "a key has 0 bytes"),
            (plain().word("k", "x").word("k", "y").bytes(), "key k is there twice"),
            (plain().key("k", 13, &[0]).bytes(), "k has the type 13"),
            (plain().key("k", 7, &[2]).bytes(), "k is 2, which is no truth value"),
            (plain().key("k", 9, &many(9, 1)).bytes(), "list of lists"),
            (plain().key("k", 9, &many(13, 1)).bytes(), "k has the type 13"),
            (plain().key("k", 9, &many(4, u64::MAX)).bytes(), "claims 18446744073709551615 k"),
            (plain().key("k", 9, &[many(0, 1 << 23), vec![0; 1 << 23]].concat()).bytes(), "more than 4194304 elements"),
            (plain().key("k", 8, &u64::MAX.to_le_bytes()).bytes(), "bytes of k are missing"),
            (plain().word("k", &"x".repeat(65 << 20)).bytes(), "header is longer"),
            (plain().floats("", &[1], &[0.0]).bytes(), "name has 0 bytes"),
            (plain().floats(&"x".repeat(64), &[1], &[0.0]).bytes(), "name has 64 bytes"),
            (plain().floats("a", &[1], &[0.0]).floats("a", &[1], &[0.0]).bytes(), "'a' is there twice"),
            (plain().floats("a", &[], &[0.0]).bytes(), "0 dimensions"),
            (plain().floats("a", &[1, 1, 1, 1, 1], &[0.0]).bytes(), "5 dimensions"),
            (plain().floats("a", &[0], &[]).bytes(), "0 in a dimension"),
            (plain().floats("a", &[1 << 40, 1 << 40], &[]).bytes(), "in a dimension"),
            (plain().floats("a", &[u64::MAX], &[]).bytes(), "in a dimension"),
            (plain().tensor_of("a", &[48], 8, vec![0; 51]).bytes(), "rows of 48 in Q8_0, whose blocks have 32"),
            (plain().tensor_of("a", &[256], 16, vec![0; 66]).bytes(), "'a' is written as IQ2_XXS, which is not read"),
            (plain().tensor_of("a", &[32], 4, vec![0; 18]).bytes(), "Q4_2, which llama.cpp removed"),
            (plain().tensor_of("a", &[32], 77, vec![0; 18]).bytes(), "number 77"),
            (plain().floats("a", &[4], &[0.0]).bytes(), "cut short: 12 bytes up to the end of 'a'"),
        ];
        for (bytes, why) in cases {
            let problem = read(bytes).unwrap_err();
            assert!(problem.what.contains(why), "{why}: {problem:?}");
            assert!(problem.at == "toy/a.gguf" && !problem.next.is_empty(), "{problem:?}");
        }
        assert_eq!(text("ab").len(), 10);
    }

    #[test]
    fn cut_at_any_field_it_is_an_error() {
        let (bytes, fields) = sample().with_fields();
        for (at, what) in fields {
            let problem = read(bytes[..at].to_vec()).err();
            assert!(problem.is_some(), "cut at {what}, byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(read(bytes[..end].to_vec()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn no_damage_panics_or_asks_for_much() {
        let bytes = sample().bytes();
        let mut state = 7_u64;
        let mut draw = |below: usize| {
            // xorshift: the same damage each time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..2000 {
            let mut bent = bytes.clone();
            for _ in 0..=draw(4) {
                let at = draw(bent.len());
                match draw(3) {
                    0 => bent[at] ^= 1 << draw(8),
                    1 => bent[at] = [0, 1, 127, 128, 255][draw(5)],
                    _ => {
                        let end = bent.len().min(at + 8);
                        bent[at..end].fill(255);
                    }
                }
            }
            // A file still, or an error; and what it says lies within it.
            if let Ok(header) = read(bent) {
                assert!(header.tensors.iter().all(|entry| entry.bytes.end <= bytes.len() as u64));
            }
        }
    }
}
