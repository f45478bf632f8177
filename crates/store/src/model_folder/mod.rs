//! A model in Hugging Face form, opened by its headers: weights are read one tensor at a time. They lie in safetensors, or
//! in a GGUF file that is seen as if it were a folder.

mod beside;
mod shards;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use stratune_protocol::Problem;

use self::shards::Shards;
use crate::checkpoint::hex;
use crate::folder::{Folder, MemoryFolder, missing, place};
use crate::gguf::{BlockType, Gguf, View};
use crate::quantized;
use crate::tensor::HostTensor;

const DOWNLOAD: &str = "download or copy the whole model folder again";

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
    Safetensors(Shards),
    /// In a GGUF file.
    Gguf(Box<Gguf>, BTreeMap<String, View>),
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
        let mut hash = Sha256::new();
        add(&mut hash, &config_bytes);
        let shards = Shards::open(&*folder, &mut hash).await?;
        quantized::refuse(&config, &shards.formats(), &folder.label())?;
        Ok(Self { folder, config, weights: Weights::Safetensors(shards), headers: hex(&hash.finalize()) })
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
            Weights::Safetensors(shards) => shards.names(),
            Weights::Gguf(_, views) => views.keys().cloned().collect(),
        }
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match &self.weights {
            Weights::Safetensors(shards) => shards.shape(name),
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
        let found = match &self.weights {
            Weights::Safetensors(shards) => shards.numbers(&*self.folder, name, range).await?,
            Weights::Gguf(gguf, views) => {
                match views.get(name).filter(|view| range.start <= range.end && range.end <= view.count()) {
                    None => None,
                    Some(view) => Some(gguf.numbers(view, name, range).await?),
                }
            }
        };
        found.ok_or_else(|| self.no_tensor(name))
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
            Weights::Safetensors(shards) => {
                let parts = shards.beginnings(&*self.folder, every(shards.len()), SAMPLED_BYTES).await?;
                parts.iter().for_each(|part| add(&mut hash, part));
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

/// Adds a part with its length, so that no two contents run together.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

fn json<T: serde::de::DeserializeOwned>(folder: &dyn Folder, name: &str, bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|e| Problem::input(format!("{name} cannot be read: {e}")).at(place(folder, name)).next(DOWNLOAD))
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;

    use pollster::block_on;

    use super::shards::{INDEX, SINGLE};
    use super::*;
    use crate::disk::DiskFolder;
    use crate::folder::MemoryFolder;
    use crate::safetensors::write_safetensors;
    use crate::tensor::Stored;

    fn fixture(name: &str) -> DiskFolder {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
        DiskFolder::new(format!("{root}/{name}")).unwrap()
    }

    pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

    pub(super) fn open(files: Files) -> Result<ModelFolder, Problem> {
        let files = files.into_iter().map(|(name, bytes)| (name.to_string(), Cow::Owned(bytes))).collect();
        block_on(ModelFolder::open(Rc::new(MemoryFolder::new("toy", files))))
    }

    pub(super) fn weights(name: &str) -> Vec<u8> {
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
                let Weights::Safetensors(shards) = &model.weights else { panic!("{name}") };
                let shard = shards.file(&tensor_name);
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
}
