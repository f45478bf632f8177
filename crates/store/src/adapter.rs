//! LoRA adapters as Hugging Face PEFT stores them: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;

use stratune_protocol::{MethodConfig, Problem, ProblemKind};

use crate::adapter_config::{AdapterConfig, config_file, target_of};
use crate::folder::{Folder, missing, place};
use crate::safetensors::{read_safetensors, write_safetensors};
use crate::tensor::{HostTensor, Stored};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

/// An adapter: its configuration, and a pair of matrices for each layer it enters.
pub struct Adapter {
    /// Its configuration.
    pub config: AdapterConfig,
    /// The pairs by the layer's path, such as `model.layers.0.self_attn.q_proj`.
    pub layers: BTreeMap<String, LoraPair>,
}

/// The update of one layer: `scale · B · A` is added to its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraPair {
    /// Shape `[r, in]`.
    pub a: HostTensor,
    /// Shape `[out, r]`.
    pub b: HostTensor,
    /// Alpha / r, or alpha / √r.
    pub scale: f32,
}

/// Reads the adapter in a folder.
pub async fn read_adapter(folder: &dyn Folder) -> Result<Adapter, Problem> {
    for name in [CONFIG, WEIGHTS] {
        if folder.size(name).is_none() {
            let next = "choose the folder of a PEFT adapter that was saved in safetensors form";
            return Err(missing(folder, name, next));
        }
    }
    let config = AdapterConfig::parse(&folder.read(CONFIG, None).await?, &place(folder, CONFIG))?;
    let at = place(folder, WEIGHTS);
    let (tensors, _) = read_safetensors(&folder.read(WEIGHTS, None).await?, &at)?;
    let bad = |what: String, next: &str| Problem::input(what).at(at.clone()).next(next);
    let again = "export the adapter again";
    let mut a_side = BTreeMap::new();
    let mut b_side = BTreeMap::new();
    for (name, tensor) in tensors {
        let inner = name.strip_prefix(PREFIX).unwrap_or_default();
        if let Some(path) = inner.strip_suffix(A) {
            a_side.insert(path.to_string(), tensor);
        } else if let Some(path) = inner.strip_suffix(B) {
            b_side.insert(path.to_string(), tensor);
        } else {
            let next = "only lora_A and lora_B of linear layers are read; merge the adapter into its model with PEFT";
            return Err(bad(format!("tensor '{name}' is not part of a plain LoRA adapter"), next));
        }
    }
    let mut layers = BTreeMap::new();
    for (path, a) in a_side {
        let Some(b) = b_side.remove(&path) else {
            return Err(bad(format!("layer {path} has lora_A without lora_B"), again));
        };
        let rank = config.rank(&path);
        if a.shape.len() != 2 || b.shape.len() != 2 || a.shape[0] != rank || b.shape[1] != rank || rank == 0 {
            let what =
                format!("layer {path} has lora_A {:?} and lora_B {:?}, and its rank is {rank}", a.shape, b.shape);
            return Err(bad(what, "check r and rank_pattern in adapter_config.json, or export the adapter again"));
        }
        let scale = config.scale(&path);
        if !scale.is_finite() {
            return Err(bad(format!("layer {path} has the scale {scale}"), "check lora_alpha in adapter_config.json"));
        }
        layers.insert(path, LoraPair { a, b, scale });
    }
    if let Some(path) = b_side.keys().next() {
        return Err(bad(format!("layer {path} has lora_B without lora_A"), again));
    }
    if layers.is_empty() {
        return Err(bad("the adapter holds no layer".into(), again));
    }
    Ok(Adapter { config, layers })
}

/// The files of an adapter's folder, as PEFT loads them, from A `[r, in]` and B `[out, r]` of each layer by path.
pub fn adapter_files(
    base_model: &str,
    method: &MethodConfig,
    layers: &BTreeMap<String, (HostTensor, HostTensor)>,
) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let mut tensors = BTreeMap::new();
    for (path, (a, b)) in layers {
        let target = target_of(path)?;
        let (rank, _) = method.at(target);
        if !method.targets.contains(&target) || a.shape.first() != Some(&rank) || b.shape.get(1) != Some(&rank) {
            let what =
                format!("layer {path} has A {:?} and B {:?}, which the method does not give it", a.shape, b.shape);
            return Err(Problem::new(ProblemKind::Internal, what).next("please report this"));
        }
        tensors.insert(format!("{PREFIX}{path}{A}"), a.clone());
        tensors.insert(format!("{PREFIX}{path}{B}"), b.clone());
    }
    let weights = write_safetensors(&tensors, Stored::F32, &BTreeMap::new())?;
    let config = format!("{:#}\n", config_file(base_model, method));
    Ok(vec![(CONFIG.into(), config.into_bytes()), (WEIGHTS.into(), weights)])
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;

    use pollster::block_on;
    use serde_json::Value;
    use stratune_protocol::{Target, TargetOverride};

    use super::*;
    use crate::disk::DiskFolder;
    use crate::folder::MemoryFolder;

    fn fixture(name: &str) -> DiskFolder {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
        DiskFolder::new(format!("{root}/{name}")).unwrap()
    }

    fn in_memory(files: Vec<(String, Vec<u8>)>) -> MemoryFolder {
        MemoryFolder::new("toy", files.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes))).collect())
    }

    #[test]
    fn reads_what_peft_wrote() {
        let cases = [
            ("peft-all", "model.layers.0.self_attn.q_proj", 4, 2.0),
            ("peft-rslora", "model.layers.0.self_attn.q_proj", 4, 4.0),
            ("peft-lora", "model.layers.2.self_attn.q_proj", 2, 3.0),
            ("peft-lora", "model.layers.2.mlp.down_proj", 4, 2.0),
        ];
        for (name, path, rank, scale) in cases {
            let adapter = block_on(read_adapter(&fixture(name))).unwrap();
            let per_block = if name == "peft-lora" { 3 } else { 7 };
            assert_eq!(adapter.layers.len(), 3 * per_block, "{name}");
            let pair = &adapter.layers[path];
            assert_eq!((pair.a.shape[0], pair.b.shape[1], pair.scale), (rank, rank, scale), "{name} {path}");
            assert_eq!(adapter.config.base_model_name_or_path.as_deref(), Some("tiny-llama"));
        }
    }

    #[test]
    fn writes_what_peft_wrote() {
        let folder = fixture("peft-lora");
        let adapter = block_on(read_adapter(&folder)).unwrap();
        let over = TargetOverride { rank: Some(2), alpha: Some(6.0) };
        let method = MethodConfig {
            rank: 4,
            alpha: 8.0,
            dropout: 0.0,
            targets: vec![Target::QProj, Target::VProj, Target::DownProj],
            overrides: [(Target::QProj, over)].into(),
        };
        let layers =
            adapter.layers.iter().map(|(path, pair)| (path.clone(), (pair.a.clone(), pair.b.clone()))).collect();
        let files = adapter_files("tiny-llama", &method, &layers).unwrap();
        let ours: serde_json::Map<String, Value> = serde_json::from_slice(&files[0].1).unwrap();
        let theirs: Value = serde_json::from_slice(&block_on(folder.read(CONFIG, None)).unwrap()).unwrap();
        for (key, value) in &ours {
            let same = value == &theirs[key] || value.as_f64().is_some_and(|x| Some(x) == theirs[key].as_f64());
            assert!(same, "{key}: {value} against {}", theirs[key]);
        }
        let tensors = |bytes: &[u8]| read_safetensors(bytes, "f").unwrap();
        assert_eq!(tensors(&files[1].1), tensors(&block_on(folder.read(WEIGHTS, None)).unwrap()));
        let again = block_on(read_adapter(&in_memory(files))).unwrap();
        assert_eq!(again.layers, adapter.layers);
    }

    #[test]
    fn wrong_tensors_are_named() {
        type Shapes = Vec<(String, [usize; 2])>;
        let tensor = |shape: [usize; 2]| HostTensor { shape: shape.to_vec(), data: vec![1.0; shape[0] * shape[1]] };
        let full = |name: &str| format!("base_model.model.model.layers.0.{name}.weight");
        let cases: Vec<(Shapes, &str)> = vec![
            (vec![(full("q_proj.lora_A"), [2, 3])], "q_proj has lora_A without lora_B"),
            (vec![(full("q_proj.lora_B"), [3, 2])], "q_proj has lora_B without lora_A"),
            (vec![(full("q_proj.lora_A"), [2, 3]), (full("q_proj.lora_B"), [3, 1])], "its rank is 2"),
            (vec![(full("q_proj.lora_A"), [4, 3]), (full("q_proj.lora_B"), [3, 4])], "its rank is 2"),
            (vec![(full("q_proj.lora_embedding_A"), [2, 3])], "not part of a plain LoRA adapter"),
            (vec![("x.lora_A.weight".into(), [2, 3])], "'x.lora_A.weight' is not part"),
            (vec![], "no layer"),
        ];
        for (tensors, want) in cases {
            let tensors = tensors.into_iter().map(|(name, shape)| (name, tensor(shape))).collect();
            let weights = write_safetensors(&tensors, Stored::F32, &BTreeMap::new()).unwrap();
            let config = br#"{"peft_type":"LORA","r":2,"target_modules":["q_proj"]}"#.to_vec();
            let folder = in_memory(vec![(CONFIG.into(), config), (WEIGHTS.into(), weights)]);
            let problem = block_on(read_adapter(&folder)).err().unwrap();
            assert!(problem.what.contains(want), "{want}: {problem:?}");
            assert!(problem.at == "toy/adapter_model.safetensors" && !problem.next.is_empty(), "{problem:?}");
        }
        let problem = block_on(read_adapter(&in_memory(vec![]))).err().unwrap();
        assert!(problem.what.contains("adapter_config.json is missing; the folder is empty"), "{problem:?}");
    }

    #[test]
    fn a_rank_the_method_does_not_give_is_refused() {
        let tensor = |shape: [usize; 2]| HostTensor { shape: shape.to_vec(), data: vec![1.0; shape[0] * shape[1]] };
        let layers = [("model.layers.0.self_attn.q_proj".to_string(), (tensor([3, 5]), tensor([5, 3])))].into();
        assert!(adapter_files("m", &MethodConfig::default(), &layers).unwrap_err().what.contains("q_proj"));
    }
}
