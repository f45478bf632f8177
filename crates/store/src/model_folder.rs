//! A model in Hugging Face form, opened by its headers: weights are read one tensor at a time. They lie in safetensors, or
//! in a GGUF file that is seen as if it were a folder.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use stratune_protocol::Problem;

use crate::checkpoint::hex;
use crate::folder::{Folder, MemoryFolder, check_name, listing, missing, place};
use crate::gguf::{BlockType, Gguf, View};
use crate::header::{Entry, Header, PREFIX};
use crate::quantized;
use crate::tensor::HostTensor;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const DOWNLOAD: &str = "download or copy the whole model folder again";

/// Files that decide, beside the weights and the geometry, what a model says, and its licence: a model that is made of
/// another has them too.
const BESIDE: [&str; 21] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "USE_POLICY.md",
];

/// Tensors whose weights enter a fingerprint, and bytes of each.
const SAMPLED_TENSORS: usize = 32;
const SAMPLED_BYTES: u64 = 4096;

/// A model folder in Hugging Face form: `config.json`, `model.safetensors` (or an index and its shards),
/// `tokenizer.json`, `tokenizer_config.json`.
pub struct ModelFolder {
    folder: Rc<dyn Folder>,
    config: Value,
    weights: Weights,
    headers: String,
}

/// Where its tensors are, by the names that the checkpoint has for them.
enum Weights {
    /// In safetensors files of the folder.
    Safetensors(BTreeMap<String, Located>),
    /// In a GGUF file.
    Gguf(Box<Gguf>, BTreeMap<String, View>),
}

/// Where a tensor is.
struct Located {
    shard: String,
    data_start: u64,
    entry: Entry,
}

/// What is read of `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl ModelFolder {
    /// Opens a folder: reads its configuration and the headers of its weights, no weight.
    pub async fn open(folder: Rc<dyn Folder>) -> Result<Self, Problem> {
        if folder.size("config.json").is_none() {
            let next = "choose the folder of a model in Hugging Face form: config.json, safetensors, tokenizer.json";
            return Err(missing(&*folder, "config.json", next));
        }
        let config_bytes = folder.read("config.json", None).await?;
        let config: Value = json(&*folder, "config.json", &config_bytes)?;
        if !config.is_object() {
            let at = place(&*folder, "config.json");
            return Err(Problem::input("config.json is not a JSON object").at(at).next(DOWNLOAD));
        }
        let index = if folder.size(SINGLE).is_some() { None } else { Some(read_index(&*folder).await?) };
        let shards: BTreeSet<&str> = match &index {
            None => [SINGLE].into(),
            Some(index) => index.weight_map.values().map(String::as_str).collect(),
        };
        let mut hash = Sha256::new();
        add(&mut hash, &config_bytes);
        let mut tensors: BTreeMap<String, Located> = BTreeMap::new();
        for shard in shards {
            let (header, text, size) = read_header(&*folder, shard).await?;
            add(&mut hash, &text);
            hash.update(size.to_le_bytes());
            for (name, entry) in header.tensors {
                if let Some(first) = tensors.get(&name) {
                    let what = format!("tensor '{name}' is in two files: {} and {shard}", first.shard);
                    return Err(Problem::input(what).at(folder.label()).next(DOWNLOAD));
                }
                tensors.insert(name, Located { shard: shard.into(), data_start: header.data_start, entry });
            }
        }
        for (name, shard) in index.iter().flat_map(|index| &index.weight_map) {
            if tensors.get(name).is_none_or(|t| t.shard != *shard) {
                let what = format!("tensor '{name}' is not in {shard}, where the index has it");
                return Err(Problem::input(what).at(place(&*folder, INDEX)).next(DOWNLOAD));
            }
        }
        let formats = tensors.iter().map(|(name, there)| (name.as_str(), there.entry.dtype.as_str())).collect();
        quantized::refuse(&config, &formats, &folder.label())?;
        Ok(Self { folder, config, weights: Weights::Safetensors(tensors), headers: hex(&hash.finalize()) })
    }

    /// A GGUF file as if it were a folder: `files` are those that the folder would have beside its weights, `config.json`
    /// among them, and `views` the tensors by the names that the checkpoint has for them.
    ///
    /// # Errors
    /// The file has another tensor than a view says, or there is no `config.json`.
    pub fn of_gguf(gguf: Gguf, files: Vec<(String, Vec<u8>)>, views: BTreeMap<String, View>) -> Result<Self, Problem> {
        let mut hash = Sha256::new();
        add(&mut hash, gguf.digest());
        let files = files.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes)));
        let folder = MemoryFolder::new(gguf.label(), files.collect());
        let config = json(&folder, "config.json", folder.bytes("config.json").unwrap_or_default())?;
        views.values().try_for_each(|view| gguf.check(view))?;
        let weights = Weights::Gguf(Box::new(gguf), views);
        Ok(Self { folder: Rc::new(folder), config, weights, headers: hex(&hash.finalize()) })
    }

    /// What to call it in a message.
    pub fn label(&self) -> String {
        self.folder.label()
    }

    /// `config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        match &self.weights {
            Weights::Safetensors(tensors) => tensors.keys().cloned().collect(),
            Weights::Gguf(_, views) => views.keys().cloned().collect(),
        }
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match &self.weights {
            Weights::Safetensors(tensors) => tensors.get(name).map(|t| t.entry.shape.as_slice()),
            Weights::Gguf(_, views) => views.get(name).map(|view| view.shape.as_slice()),
        }
    }

    /// Whether its tensors lie in a GGUF file.
    pub fn is_gguf(&self) -> bool {
        matches!(self.weights, Weights::Gguf(..))
    }

    /// The GGUF file in which its tensors lie, if they do.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.weights {
            Weights::Safetensors(_) => None,
            Weights::Gguf(gguf, _) => Some(gguf),
        }
    }

    /// Where a tensor is in a GGUF file, if it lies in one.
    pub fn view(&self, name: &str) -> Option<&View> {
        match &self.weights {
            Weights::Safetensors(_) => None,
            Weights::Gguf(_, views) => views.get(name),
        }
    }

    /// How a tensor is written, if it lies in a GGUF file.
    pub fn block_type(&self, name: &str) -> Option<BlockType> {
        match &self.weights {
            Weights::Safetensors(_) => None,
            Weights::Gguf(gguf, views) => gguf.block_type(&views.get(name)?.tensor),
        }
    }

    /// Rows of a matrix that lies in a GGUF file, in the order of the checkpoint: the blocks as they are written, which lie
    /// along rows. What the file has added to the numbers, as it does to some norms, is still in them.
    ///
    /// # Errors
    /// There is no such tensor in a GGUF file, it has fewer rows, or cannot be read.
    pub async fn blocks(&self, name: &str, rows: Range<usize>) -> Result<Vec<u8>, Problem> {
        let view = match &self.weights {
            Weights::Safetensors(_) => None,
            Weights::Gguf(gguf, views) => views.get(name).map(|view| (gguf, view)),
        };
        match view {
            Some((gguf, view)) if rows.end <= view.shape[0] => gguf.rows(view, rows).await,
            _ => Err(self.no_tensor(name)),
        }
    }

    fn no_tensor(&self, name: &str) -> Problem {
        Problem::input(format!("the model has no tensor '{name}'"))
            .at(self.label())
            .next("check that config.json and the weights belong together")
    }

    /// Reads one tensor, and no other byte of its file.
    pub async fn tensor(&self, name: &str) -> Result<HostTensor, Problem> {
        let shape = self.shape(name).map(<[usize]>::to_vec).unwrap_or_default();
        let count = shape.iter().try_fold(1_usize, |count, &n| count.checked_mul(n)).ok_or_else(|| {
            Problem::input(format!("tensor '{name}' of the shape {shape:?} is too large"))
                .at(self.label())
                .next("check that config.json and the weights belong together")
        })?;
        Ok(HostTensor { data: self.numbers(name, 0..count).await?, shape })
    }

    /// Reads some of a tensor's numbers, counted in row-major order and all of them there.
    pub async fn numbers(&self, name: &str, range: Range<usize>) -> Result<Vec<f32>, Problem> {
        let tensors = match &self.weights {
            Weights::Safetensors(tensors) => tensors,
            Weights::Gguf(gguf, views) => {
                let view = views.get(name).filter(|view| range.start <= range.end && range.end <= view.count());
                let view = view.ok_or_else(|| self.no_tensor(name))?;
                return gguf.numbers(view, name, range).await;
            }
        };
        let Some(Located { shard, data_start, entry }) = tensors.get(name) else {
            return Err(self.no_tensor(name));
        };
        let at = place(&*self.folder, shard);
        let stored = entry.stored(name, &at)?;
        let place = |number: usize| data_start + entry.data_offsets.0 + number as u64 * stored.bytes() as u64;
        let bytes = self.folder.read(shard, Some(place(range.start)..place(range.end))).await?;
        stored.decode(&bytes, range.start, name, &at)
    }

    /// `tokenizer.json`, and `tokenizer_config.json` if there is one. A template in a file of its own,
    /// `chat_template.jinja`, is put into the latter's field `chat_template`.
    pub async fn tokenizer(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), Problem> {
        let folder = &*self.folder;
        if folder.size("tokenizer.json").is_none() {
            let next = "add the tokenizer.json that belongs to the model";
            return Err(missing(folder, "tokenizer.json", next));
        }
        Ok((folder.read("tokenizer.json", None).await?, self.tokenizer_config().await?))
    }

    /// A file of the tokenizer where there is no `tokenizer.json`, such as `tokenizer.model`; none if it is not there either.
    pub async fn older_tokenizer(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        if self.folder.size("tokenizer.json").is_some() || self.folder.size(name).is_none() {
            return Ok(None);
        }
        self.folder.read(name, None).await.map(Some)
    }

    /// A file beside its weights, if it is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn file(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        match self.folder.size(name) {
            None => Ok(None),
            Some(_) => self.folder.read(name, None).await.map(Some),
        }
    }

    /// `tokenizer_config.json` if there is one, with the template of `chat_template.jinja`.
    pub async fn tokenizer_config(&self) -> Result<Option<Vec<u8>>, Problem> {
        let folder = &*self.folder;
        let config = match folder.size("tokenizer_config.json") {
            Some(_) => Some(folder.read("tokenizer_config.json", None).await?),
            None => None,
        };
        if folder.size("chat_template.jinja").is_none() {
            return Ok(config);
        }
        let template = String::from_utf8(folder.read("chat_template.jinja", None).await?).map_err(|_| {
            Problem::input("chat_template.jinja is not UTF-8 text")
                .at(place(folder, "chat_template.jinja"))
                .next(DOWNLOAD)
        })?;
        let mut fields: serde_json::Map<String, Value> = match config {
            Some(bytes) => json(folder, "tokenizer_config.json", &bytes)?,
            None => serde_json::Map::new(),
        };
        fields.insert("chat_template".into(), template.into());
        Ok(Some(Value::Object(fields).to_string().into_bytes()))
    }

    /// The tokens at which `generation_config.json` and `config.json` say that a text ends, in this order.
    ///
    /// # Errors
    /// One of them says something else than a token or a list of tokens, or cannot be read.
    pub async fn ends(&self) -> Result<Vec<u32>, Problem> {
        const GENERATION: &str = "generation_config.json";
        let folder = &*self.folder;
        let generation: Value = match folder.size(GENERATION) {
            Some(_) => json(folder, GENERATION, &folder.read(GENERATION, None).await?)?,
            None => Value::Null,
        };
        let places =
            [(GENERATION, &generation), ("config.json", &self.config), ("config.json", &self.config["text_config"])];
        let mut ends = Vec::new();
        for (file, fields) in places {
            let says = &fields["eos_token_id"];
            let ids = tokens(says).ok_or_else(|| {
                Problem::input(format!("eos_token_id is {says}"))
                    .at(place(folder, file))
                    .next("make it the number of a token, or a list of such")
            })?;
            ends.extend(ids);
        }
        Ok(ends)
    }

    /// The files that a model made of this one needs beside its weights and `config.json`.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub async fn beside(&self) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        let mut files = Vec::new();
        for name in BESIDE.into_iter().filter(|name| self.folder.size(name).is_some()) {
            files.push((name.to_string(), self.folder.read(name, None).await?));
        }
        Ok(files)
    }

    /// SHA-256 over the configuration, every header and a few weights of some tensors, in hexadecimal digits: cheap, and
    /// tells one model, and one training of it, from another.
    ///
    /// # Errors
    /// The weights cannot be read.
    pub async fn fingerprint(&self) -> Result<String, Problem> {
        let mut hash = Sha256::new();
        add(&mut hash, self.headers.as_bytes());
        let every = |tensors: usize| tensors.div_ceil(SAMPLED_TENSORS).max(1);
        match &self.weights {
            Weights::Safetensors(tensors) => {
                for Located { shard, data_start, entry } in tensors.values().step_by(every(tensors.len())) {
                    let (begin, end) = entry.data_offsets;
                    let range = data_start + begin..data_start + end.min(begin + SAMPLED_BYTES);
                    add(&mut hash, &self.folder.read(shard, Some(range)).await?);
                }
            }
            Weights::Gguf(gguf, views) => {
                for view in views.values().step_by(every(views.len())) {
                    let size = gguf.size(&view.tensor).min(SAMPLED_BYTES);
                    add(&mut hash, &gguf.bytes(&view.tensor, 0..size).await?);
                }
            }
        }
        Ok(hex(&hash.finalize()))
    }
}

/// A token, a list of tokens, or nothing. Some files have −1 for none.
fn tokens(value: &Value) -> Option<Vec<u32>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(tokens).collect::<Option<Vec<_>>>().map(|lists| lists.concat()),
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => Some(Vec::new()),
        _ => Some(vec![u32::try_from(value.as_u64()?).ok()?]),
    }
}

/// Adds a part with its length, so that no two contents run together.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

fn json<T: serde::de::DeserializeOwned>(folder: &dyn Folder, name: &str, bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|e| Problem::input(format!("{name} cannot be read: {e}")).at(place(folder, name)).next(DOWNLOAD))
}

/// Reads the index of a model in shards, and checks that each shard is there.
async fn read_index(folder: &dyn Folder) -> Result<Index, Problem> {
    if folder.size(INDEX).is_none() {
        let next = if folder.names().iter().any(|n| n.ends_with(".bin") || n.ends_with(".pth")) {
            "get the model in safetensors form, or as GGUF; other weight formats are not read"
        } else {
            DOWNLOAD
        };
        let what = format!("the weights are missing: neither {SINGLE} nor {INDEX}; {}", listing(folder));
        return Err(Problem::input(what).at(folder.label()).next(next));
    }
    let index: Index = json(folder, INDEX, &folder.read(INDEX, None).await?)?;
    for shard in index.weight_map.values() {
        check_name(shard, &place(folder, INDEX))?;
        if folder.size(shard).is_none() {
            return Err(missing(folder, shard, DOWNLOAD));
        }
    }
    Ok(index)
}

/// Reads the header of one file: parsed, as it stands, and the size of the file.
async fn read_header(folder: &dyn Folder, name: &str) -> Result<(Header, Vec<u8>, u64), Problem> {
    let at = place(folder, name);
    let size = folder.size(name).ok_or_else(|| missing(folder, name, DOWNLOAD))?;
    let prefix = folder.read(name, Some(0..PREFIX.min(size))).await?;
    let length = Header::length(&prefix, size, &at)?;
    let text = folder.read(name, Some(PREFIX..PREFIX + length)).await?;
    Ok((Header::parse(&text, size, &at)?, text, size))
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;

    use pollster::block_on;

    use super::*;
    use crate::disk::DiskFolder;
    use crate::folder::MemoryFolder;
    use crate::safetensors::write_safetensors;
    use crate::tensor::Stored;

    fn fixture(name: &str) -> DiskFolder {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
        DiskFolder::new(format!("{root}/{name}")).unwrap()
    }

    type Files = Vec<(&'static str, Vec<u8>)>;

    fn open(files: Files) -> Result<ModelFolder, Problem> {
        let files = files.into_iter().map(|(name, bytes)| (name.to_string(), Cow::Owned(bytes))).collect();
        block_on(ModelFolder::open(Rc::new(MemoryFolder::new("toy", files))))
    }

    fn weights(name: &str) -> Vec<u8> {
        let tensor = HostTensor { shape: vec![2], data: vec![1.0, 2.0] };
        write_safetensors(&[(name.to_string(), tensor)].into(), Stored::F32, &BTreeMap::new()).unwrap()
    }

    fn index(map: &[(&str, &str)]) -> Vec<u8> {
        let map: BTreeMap<_, _> = map.iter().copied().collect();
        serde_json::json!({"weight_map": map}).to_string().into_bytes()
    }

    #[test]
    fn reads_each_layout_and_format() {
        for (name, tensors, head) in
            [("tiny-llama", 29, false), ("tiny-llama-f16", 11, false), ("tiny-llama3", 21, true)]
        {
            let folder = fixture(name);
            let model = block_on(ModelFolder::open(Rc::new(fixture(name)))).unwrap();
            assert_eq!(model.config()["hidden_size"], 32, "{name}");
            assert_eq!(model.names().len(), tensors, "{name}");
            assert_eq!(model.shape("lm_head.weight").is_some(), head, "{name}");
            for tensor_name in model.names() {
                let tensor = block_on(model.tensor(&tensor_name)).unwrap();
                assert_eq!(model.shape(&tensor_name).unwrap(), tensor.shape);
                // The same tensor through the reference reader.
                let Weights::Safetensors(tensors) = &model.weights else { panic!("{name}") };
                let shard = &tensors[&tensor_name].shard;
                let bytes = block_on(folder.read(shard, None)).unwrap();
                let reference = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
                let view = reference.tensor(&tensor_name).unwrap();
                let stored = Stored::from_dtype(&view.dtype().to_string()).unwrap();
                assert_eq!(stored.decode(view.data(), 0, "", "").unwrap(), tensor.data, "{name} {tensor_name}");
                let some = block_on(model.numbers(&tensor_name, 3..17)).unwrap();
                assert_eq!(some, tensor.data[3..17], "{name} {tensor_name}");
            }
        }
    }

    #[test]
    fn fingerprints_differ() {
        let of = |name| block_on(block_on(ModelFolder::open(Rc::new(fixture(name)))).unwrap().fingerprint()).unwrap();
        assert_eq!(of("tiny-llama").len(), 64);
        assert_eq!(of("tiny-llama"), of("tiny-llama"));
        assert_ne!(of("tiny-llama"), of("tiny-llama-f16"));
    }

    #[test]
    fn damaged_folders_are_named() {
        let config = || ("config.json", b"{}".to_vec());
        let nan = {
            let mut bytes = weights("w");
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
            bytes
        };
        let integers = {
            let mut bytes = weights("w");
            let at = bytes.windows(3).position(|w| w == b"F32").unwrap();
            bytes[at] = b'I';
            bytes
        };
        let cut = weights("w")[..weights("w").len() - 3].to_vec();
        let cases: Vec<(Files, &str)> = vec![
            (vec![(SINGLE, weights("w"))], "config.json is missing; there are model.safetensors"),
            (vec![("config.json", b"{".to_vec()), (SINGLE, weights("w"))], "config.json cannot be read"),
            (vec![("config.json", b"[]".to_vec()), (SINGLE, weights("w"))], "not a JSON object"),
            (vec![config()], "the weights are missing"),
            (vec![config(), (SINGLE, cut)], "3 bytes are missing"),
            (vec![config(), (SINGLE, nan)], "tensor 'w' holds NaN at index 1"),
            (vec![config(), (SINGLE, integers)], "number format I32"),
            (vec![config(), (SINGLE, weights("other"))], "no tensor 'w'"),
            (vec![config(), (SINGLE, weights("w.absmax"))], "quantised by bitsandbytes"),
            (vec![config(), (INDEX, b"{}".to_vec())], "weight_map"),
            (vec![config(), (INDEX, index(&[("w", "a")]))], "a is missing"),
            (vec![config(), (INDEX, index(&[("w", "../a")]))], "climbs out"),
            (vec![config(), (INDEX, index(&[("w", "a")])), ("a", weights("v"))], "'w' is not in a"),
            (
                vec![config(), (INDEX, index(&[("w", "a"), ("v", "b")])), ("a", weights("w")), ("b", weights("w"))],
                "'w' is in two files: a and b",
            ),
        ];
        for (files, want) in cases {
            let problem = open(files).and_then(|model| block_on(model.tensor("w"))).unwrap_err();
            assert!(problem.what.contains(want), "{want}: {problem:?}");
            assert!(problem.at.contains("toy") && !problem.next.is_empty(), "{problem:?}");
        }
    }

    #[test]
    fn other_weight_formats_are_recognised() {
        let problem = open(vec![("config.json", b"{}".to_vec()), ("pytorch_model.bin", vec![])]).err().unwrap();
        assert!(problem.next.contains("safetensors"), "{problem:?}");
    }

    #[test]
    fn the_template_file_wins() {
        let base = || vec![("config.json", b"{}".to_vec()), (SINGLE, weights("w"))];
        let tokenizer = |more: Files| {
            let files = base().into_iter().chain(more).collect();
            block_on(open(files).unwrap().tokenizer())
        };
        let own = ("tokenizer.json", b"T".to_vec());
        let template = ("chat_template.jinja", b"new".to_vec());
        let config = ("tokenizer_config.json", br#"{"chat_template":"old","x":1}"#.to_vec());
        assert!(tokenizer(vec![]).unwrap_err().what.starts_with("tokenizer.json is missing"));
        assert_eq!(tokenizer(vec![own.clone()]).unwrap(), (b"T".to_vec(), None));
        assert_eq!(tokenizer(vec![own.clone(), config.clone()]).unwrap().1.unwrap(), config.1);
        let merged: Value =
            serde_json::from_slice(&tokenizer(vec![own.clone(), config, template.clone()]).unwrap().1.unwrap())
                .unwrap();
        assert_eq!(merged, serde_json::json!({"chat_template": "new", "x": 1}));
        let alone = tokenizer(vec![own, template]).unwrap().1.unwrap();
        assert_eq!(alone, br#"{"chat_template":"new"}"#);
    }

    #[test]
    fn every_end_of_a_text_is_read() {
        let ends = |config: &str, generation: Option<&str>| {
            let mut files = vec![("config.json", config.as_bytes().to_vec()), (SINGLE, weights("w"))];
            files.extend(generation.map(|text| ("generation_config.json", text.as_bytes().to_vec())));
            block_on(open(files).unwrap().ends())
        };
        let cases = [
            ("{}", None, vec![]),
            (r#"{"eos_token_id": 2}"#, None, vec![2]),
            (r#"{"eos_token_id": [3, 4]}"#, Some(r#"{"eos_token_id": [5, 3]}"#), vec![5, 3, 3, 4]),
            (r#"{"eos_token_id": null, "text_config": {"eos_token_id": 106}}"#, Some("{}"), vec![106]),
            (r#"{"eos_token_id": -1}"#, None, vec![]),
        ];
        for (config, generation, tokens) in cases {
            assert_eq!(ends(config, generation).unwrap(), tokens, "{config} {generation:?}");
        }
        let problem = ends("{}", Some(r#"{"eos_token_id": "</s>"}"#)).unwrap_err();
        assert_eq!(
            (problem.what.as_str(), problem.at.as_str()),
            ("eos_token_id is \"</s>\"", "toy/generation_config.json")
        );
        assert!(ends("{}", Some("{")).unwrap_err().what.contains("generation_config.json cannot be read"));
    }

    #[test]
    fn what_a_model_needs_beside_its_weights_is_found() {
        let file = |name: &'static str| (name, name.as_bytes().to_vec());
        let there = ["tokenizer.json", "chat_template.jinja", "generation_config.json", "LICENSE"];
        let others = ["README.md", "pytorch_model.bin", "optimizer.pt"].map(file);
        let files = [("config.json", b"{}".to_vec()), (SINGLE, weights("w"))].into_iter().chain(others);
        let beside = block_on(open(files.chain(there.map(file)).collect()).unwrap().beside()).unwrap();
        assert_eq!(beside, there.map(|name| (name.to_string(), name.as_bytes().to_vec())));
    }
}
