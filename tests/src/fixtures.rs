//! The fixtures, built into the tests so that a browser has them too. `make_fixtures.py` beside them makes them.

use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::Deserialize;
use stratune_models::Model;
use stratune_protocol::BaseDtype;
use stratune_session::{attach, read_adapter, read_model};
use stratune_store::{Folder, MemoryFolder, ModelFolder};

macro_rules! folder {
    ($name:literal: $($file:literal),+) => {
        ($name, &[$(($file, include_bytes!(concat!("../fixtures/", $name, "/", $file)).as_slice())),+])
    };
}

type Files = &'static [(&'static str, &'static [u8])];

const FOLDERS: [(&str, Files); 68] = [
    folder!("tiny-llama": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-llama3": "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "logits.json"),
    folder!("tiny-llama-f16": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-llama-dynamic": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-qwen2": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-qwen2-yarn": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-qwen3": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-gemma3": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-mistral": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-gemma2": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-gemma": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-smollm3": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-granite": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-olmo2": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-arcee": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-phi3": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-phi3-short": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-gpt2": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-gpt-neox": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-gpt-neox-serial": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-gemma3-multimodal": "config.json", "model.safetensors", "logits.json"),
    folder!("peft-arcee": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-phi3": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-gpt2": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-gpt-neox": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-gemma3-multimodal": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-llama-dynamic": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-qwen2": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-qwen3": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-gemma3": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-mistral": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-gemma2": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-gemma": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-smollm3": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-granite": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-olmo2": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("tiny-bert": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-bert-bare": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-roberta": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-distilbert": "config.json", "model.safetensors", "logits.json"),
    folder!("peft-bert": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-bert-bare": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-bert-regression": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-roberta": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-distilbert": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("tiny-t5": "config.json", "model.safetensors", "logits.json"),
    folder!("tiny-t5-gated": "config.json", "model.safetensors", "logits.json"),
    folder!("peft-t5": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-t5-gated": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("images": "photo.jpg", "drawing.png", "gray.png", "clear.png"),
    folder!("tiny-vit": "config.json", "preprocessor_config.json", "model.safetensors", "logits.json"),
    folder!("peft-vit": "adapter_config.json", "adapter_model.safetensors", "logits.json", "gradients.json"),
    folder!("peft-lora": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-rslora": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-all": "adapter_config.json", "adapter_model.safetensors"),
    folder!("peft-dora": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-pissa": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-vera": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-ia3": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-adalora": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-adalora-cut": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-lokr": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-shira": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-ln": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-prefix": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("peft-prompt": "adapter_config.json", "adapter_model.safetensors", "logits.json"),
    folder!("tokenizer": "tokenizer.json", "tokenizer_config.json", "samples.json"),
    folder!("sentence-piece": "tokenizer.model", "samples.json", "llama2.json"),
];

/// Loss, gradients and shapes of one batch, from transformers and PEFT.
pub const GRADIENTS: &[u8] = include_bytes!("../fixtures/lora-gradients.json");
/// Loss and gradient norm of twelve steps, from transformers, PEFT and PyTorch.
pub const TRAINING: &[u8] = include_bytes!("../fixtures/lora-training.json");
/// `torch.optim.AdamW` on five numbers.
pub const ADAMW: &[u8] = include_bytes!("../fixtures/adamw.json");

/// A file of a fixture.
pub fn bytes(name: &str, file: &str) -> &'static [u8] {
    let (_, files) = FOLDERS.iter().find(|(n, _)| *n == name).expect("a listed fixture");
    files.iter().find(|(n, _)| *n == file).expect("a listed file").1
}

/// A fixture's folder.
pub fn folder(name: &str) -> Rc<dyn Folder> {
    let (_, files) = FOLDERS.iter().find(|(n, _)| *n == name).expect("a listed fixture");
    let files = files.iter().map(|(file, bytes)| (file.to_string(), Cow::Borrowed(*bytes))).collect();
    Rc::new(MemoryFolder::new(name, files))
}

/// A file of a fixture, from JSON.
pub async fn json<T: for<'a> Deserialize<'a>>(name: &str, file: &str) -> T {
    let bytes = folder(name).read(file, None).await.expect("a listed file");
    serde_json::from_slice(&bytes).expect("JSON of that form")
}

/// A fixture's model.
pub async fn model(name: &str, device: &Device) -> Model {
    let files = ModelFolder::open(folder(name)).await.expect("a model folder");
    read_model(&files, BaseDtype::F32.into(), device, &mut |_| {}).await.expect("a model")
}

/// The model that a fixture's adapter was made on, with it.
pub async fn adapted(adapter: &str, device: &Device) -> Model {
    let adapter = read_adapter(folder(adapter).as_ref()).await.expect("an adapter");
    let mut model = model(adapter.base_model.as_deref().expect("the base's name"), device).await;
    attach(&mut model, &adapter).await.expect("an adapter that fits");
    model
}

/// Token ids as a batch of one row.
pub fn ids(values: &[u32], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i32> = values.iter().map(|v| *v as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [1, count]), device)
}

/// What a model says at each position.
#[derive(Deserialize)]
pub struct Logits {
    /// The text.
    pub ids: Vec<u32>,
    /// The answer at each position.
    pub logits: Vec<Vec<f32>>,
    /// A beginning.
    #[serde(default)]
    pub prompt: Vec<u32>,
    /// How it goes on, taking the likeliest token each time.
    #[serde(default)]
    pub greedy: Vec<u32>,
}
