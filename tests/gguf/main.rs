//! GGUF files say the same as the folders that they were made of: configuration, numbers, tokens.

mod made;
mod own_bits;
mod written;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::tensor::Device;
use half::f16;
use serde::Deserialize;
use serde_json::Value;
use stratune_data::{GgufTokenizer, Tokenizer};
use stratune_models::{ModelConfig, Sampling, generate};
use stratune_protocol::{BaseDtype, Role};
use stratune_runtime::{block_on, read_f32};
use stratune_session::{model_config, open_model, read_model, read_tokenizer};
use stratune_store::{BlockType, Blocks, DiskFolder, Gguf, GgufFolder, MemoryFolder, ModelFolder};
use stratune_tests::families::GGUF;
use stratune_tests::{fixtures, skipped, worst};

fn open(path: &Path) -> ModelFolder {
    let folder = Rc::new(DiskFolder::new(path.parent().unwrap()).unwrap());
    let file = GgufFolder::new(folder, path.file_name().unwrap().to_str().unwrap()).unwrap();
    block_on(open_model(Rc::new(file))).unwrap_or_else(|problem| panic!("{}: {problem:?}", path.display()))
}

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/gguf/tiny-{family}.gguf"))
}

#[test]
fn each_family_has_the_numbers_of_its_folder() {
    for family in GGUF {
        let file = open(&fixture(family));
        let folder = block_on(open_model(fixtures::folder(&format!("tiny-{family}")))).unwrap();
        for entry in model_config(&file).unwrap().layout() {
            let (name, shape) = (&entry.name, &entry.shape);
            let there = model_config(&folder).unwrap().names_in_files(&in_folder(family, name));
            let there = there.into_iter().find(|name| folder.shape(name).is_some()).unwrap();
            let mut want = block_on(folder.tensor(&there)).unwrap();
            let have = block_on(file.tensor(name)).unwrap();
            assert_eq!((&have.shape, &want.shape), (shape, &entry.file_shape()), "{family} {name}");
            if entry.transposed {
                let column = |c: usize| want.data.iter().skip(c).step_by(shape[0]).copied();
                want.data = (0..shape[0]).flat_map(column).collect();
            }
            let is_half = file.block_type(name) == Some(BlockType::F16);
            let halves = shape.len() == 2 && entry.role != Role::PositionEmbedding && family != "llama3";
            assert_eq!(is_half, halves, "{family} {name}");
            let rounded = |x: &f32| if is_half { f16::from_f32(*x).to_f32() } else { *x };
            let want: Vec<f32> = want.data.iter().map(rounded).collect();
            // What norms multiply by was rounded to f32 as 1 + w, and so is what is left of it.
            let exact = !(family.starts_with("gemma") && shape.len() == 1);
            for (have, want) in have.data.iter().zip(&want) {
                let is = if exact { have == want } else { 1.0 + have == 1.0 + want };
                assert!(is, "{family} {name}: {have} where the folder has {want}");
            }
        }
    }
}

/// What the folder of a family calls a tensor: that of Gemma 3 with images has the text part within it.
fn in_folder(family: &str, name: &str) -> String {
    match (family, name.strip_prefix("model.")) {
        ("gemma3-multimodal", Some(behind)) => format!("model.language_model.{behind}"),
        _ => name.into(),
    }
}

/// What the fixtures' folders say and llama.cpp's files have no key for, as it is there: windows where the architecture has none,
/// which blocks have one or no positions, scales that no real model has.
fn unsaid(family: &str) -> Vec<(&'static str, Value)> {
    let no_window = [("layer_types", Value::Null), ("use_sliding_window", false.into())];
    match family {
        "qwen2" | "qwen3" => no_window.into(),
        "smollm3" => [("no_rope_layers", Value::Null), ("no_rope_layer_interval", 4.into())]
            .into_iter()
            .chain(no_window)
            .collect(),
        "gemma2" => vec![("query_pre_attn_scalar", 12.into())],
        "gemma3" | "gemma3-multimodal" => vec![
            ("query_pre_attn_scalar", if family == "gemma3" { 12.into() } else { 8.into() }),
            ("layer_types", Value::Null),
            ("sliding_window_pattern", 6.into()),
        ],
        "mistral" => vec![("model_type", "llama".into()), ("sliding_window", Value::Null)],
        "gpt2" => vec![("scale_attn_by_inverse_layer_idx", false.into())],
        _ => Vec::new(),
    }
}

/// `config.json` of a family's folder, as far as a file can say it.
fn said(family: &str) -> Value {
    let folder = block_on(open_model(fixtures::folder(&format!("tiny-{family}")))).unwrap();
    let mut config = folder.config().clone();
    if family == "gemma3-multimodal" {
        config = config["text_config"].clone();
    }
    unsaid(family).into_iter().for_each(|(key, value)| config[key] = value);
    config
}

#[test]
fn each_family_has_the_configuration_of_its_folder() {
    for family in GGUF {
        let have = model_config(&open(&fixture(family))).unwrap();
        let want = ModelConfig::from_json(&said(family), "").unwrap();
        assert_eq!(have.modules, want.modules, "{family}");
        assert_eq!(have.attention, want.attention, "{family}");
        let sizes = |config: &ModelConfig| {
            [
                config.vocab_size,
                config.hidden_size,
                config.intermediate_size,
                config.num_attention_heads,
                config.num_key_value_heads,
                config.head_dim,
                config.rotary_dim,
                config.max_position_embeddings,
            ]
        };
        assert_eq!(sizes(&have), sizes(&want), "{family}");
        let switches = |config: &ModelConfig| {
            (
                (config.norm_eps, config.activation, config.zero_centered_norms, config.centring_norms),
                (config.embedding_multiplier, config.residual_multiplier, config.logits_scaling),
                (config.final_logit_softcapping, config.scores),
                (config.scores_by_depth, config.heads_apart, config.parallel),
            )
        };
        assert_eq!(switches(&have), switches(&want), "{family}");
    }
}

/// Within 1e-4, as the folders' are of transformers': f16 holds what bf16 does, but the smallest.
#[test]
fn each_family_says_what_its_folder_says() {
    let device = Device::flex();
    for family in GGUF.into_iter().filter(|family| *family != "gemma3-multimodal") {
        let folder = fixtures::folder(&format!("tiny-{family}"));
        let files = folder.names().into_iter().map(|name| {
            let bytes = match name.as_str() {
                "config.json" => said(family).to_string().into_bytes(),
                _ => block_on(folder.read(&name, None)).unwrap(),
            };
            (name, bytes.into())
        });
        let folder = block_on(open_model(Rc::new(MemoryFolder::new("toy", files.collect())))).unwrap();
        // Beyond where Phi-3's divisors are others.
        let text: Vec<u32> = (1..25).collect();
        let [have, want] = [open(&fixture(family)), folder].map(|files| {
            let model = block_on(read_model(&files, BaseDtype::F32.into(), &device, &mut |_| {})).unwrap();
            block_on(read_f32(model.logits(fixtures::ids(&text, &device)))).unwrap()
        });
        let off = worst(&have, &want);
        assert!(off < 1e-4, "{family}: logits are off by {off:e}");
    }
}

/// As repositories with GGUF files are when they are cloned: a `config.json` beside them, and no safetensors.
#[test]
fn a_configuration_beside_a_file_does_not_hide_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("qwen3"), folder.path().join("model.gguf")).unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let model = block_on(open_model(Rc::new(DiskFolder::new(folder.path()).unwrap()))).unwrap();
    assert!(model.is_gguf());
}

#[test]
fn the_vocabulary_of_a_file_is_a_tokenizer() {
    for family in GGUF {
        let file = open(&fixture(family));
        let tokenizer = block_on(async { read_tokenizer(&file, &model_config(&file).unwrap()).await }).unwrap();
        let ids = tokenizer.encode("he said").unwrap();
        assert_eq!((ids[0], ids.len(), tokenizer.eos()), (95, 6, Some(0)), "{family}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), "he said");
    }
}

/// Where real models are, if it is said.
fn models() -> Option<PathBuf> {
    let root = std::env::var_os("STRATUNE_MODELS").map(PathBuf::from);
    if root.is_none() {
        skipped("STRATUNE_MODELS is not set");
    }
    root
}

/// The GGUF file in a folder.
fn file_in(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|end| end == "gguf")).min()
}

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
}

/// `tokens.json` beside a model: texts, and the tokens that the model's own tokenizer makes of them.
#[test]
fn texts_become_the_tokens_of_the_models_own_tokenizers() {
    let Some(root) = models() else { return };
    for name in ["smollm2", "gemma3"] {
        let (Some(path), Ok(text)) = (file_in(&root.join(name)), std::fs::read(root.join(name).join("tokens.json")))
        else {
            skipped(format!("{name} or its tokens.json is not in STRATUNE_MODELS"));
            continue;
        };
        let file = open(&path);
        let tokenizer = block_on(async { read_tokenizer(&file, &model_config(&file).unwrap()).await }).unwrap();
        let samples: Vec<Sample> = serde_json::from_slice(&text).unwrap();
        let (mut tokens, mut wrong) = (0, Vec::new());
        for sample in &samples {
            let ids = tokenizer.encode(&sample.text).unwrap();
            tokens += ids.len();
            if ids != sample.ids {
                wrong.push((&sample.text, ids, &sample.ids));
            }
        }
        println!("{name}: {} texts, {tokens} tokens", samples.len());
        assert!(wrong.is_empty(), "{name}: {} texts differ, such as {:?}", wrong.len(), wrong[0]);
    }
}

#[derive(Deserialize)]
struct Answer {
    ids: Vec<u32>,
    /// At each of them, of every 97th token.
    logits: Vec<Vec<f32>>,
    greedy: Vec<u32>,
}

/// `logits.json` beside a model: what transformers says with the numbers that gguf-py makes of the file.
#[test]
fn real_files_say_what_transformers_says() {
    let Some(root) = models() else { return };
    for name in ["smollm2", "gemma3"] {
        let (Some(path), Ok(text)) = (file_in(&root.join(name)), std::fs::read(root.join(name).join("logits.json")))
        else {
            skipped(format!("{name} or its logits.json is not in STRATUNE_MODELS"));
            continue;
        };
        let answer: Answer = serde_json::from_slice(&text).unwrap();
        let device = Device::flex();
        let model = block_on(read_model(&open(&path), BaseDtype::F32.into(), &device, &mut |_| {})).unwrap();
        let logits = model.logits(fixtures::ids(&answer.ids, &device));
        let vocabulary = model.config.vocab_size;
        let logits = block_on(read_f32(logits)).unwrap();
        let every: Vec<f32> = logits.chunks(vocabulary).flat_map(|row| row.iter().copied().step_by(97)).collect();
        let worst = worst(&every, &answer.logits.concat());
        println!("{name}: logits differ by {worst} at most");
        // Two ways to add up in f32, where logits are up to 30.
        assert!(worst < 1e-3, "{name}: {worst}");
        let mut told = Vec::new();
        let take = |token| {
            told.push(token);
            Ok(true)
        };
        block_on(generate(&model, &answer.ids, answer.greedy.len(), &Sampling::GREEDY, take)).unwrap();
        assert_eq!(told, answer.greedy, "{name}");
    }
}

/// llama.cpp's own cases: `vocab/*.gguf` with texts in `.inp` and tokens in `.out`.
#[test]
fn texts_become_the_tokens_that_llama_cpp_makes() {
    let Some(root) = models() else { return };
    let files = std::fs::read_dir(root.join("vocab")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    files.sort();
    if files.is_empty() {
        skipped("there is no vocab in STRATUNE_MODELS");
    }
    let mut told = Vec::new();
    for path in files {
        let beside = |end: &str| std::fs::read_to_string(format!("{}{end}", path.display()));
        let (Ok(texts), Ok(answers)) = (beside(".inp"), beside(".out")) else { continue };
        let folder = Rc::new(DiskFolder::new(path.parent().unwrap()).unwrap());
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let gguf = block_on(Gguf::open(folder, vec![name.clone()])).unwrap();
        let files = match GgufTokenizer::read(gguf.metadata(), &name) {
            Ok(files) => files,
            Err(problem) => {
                // A pre-tokenizer or a kind that is not read is refused by its name.
                assert!(problem.what.contains("not known") || problem.what.contains("not read"), "{problem}");
                told.push(format!("{name}: refused"));
                continue;
            }
        };
        let tokenizer = Tokenizer::from_json(&files.json, Some(&files.config), &name).unwrap();
        let mut wrong = Vec::new();
        let cases = texts.split("\n__ggml_vocab_test__\n").zip(answers.lines());
        for (text, answer) in cases {
            let want: Vec<u32> = answer.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let have = tokenizer.encode(text).unwrap();
            if have != want {
                wrong.push((text.to_string(), have, want));
            }
        }
        told.push(format!("{name}: {} differ {:?}", wrong.len(), wrong.first()));
    }
    let told = told.join("\n");
    println!("{told}");
    assert!(told.lines().all(|line| line.contains(" 0 differ") || line.contains("refused")), "{told}");
}

/// The folder that transformers made of the file, in f16: it knows by itself which rows move and what norms have added.
#[test]
fn a_real_file_has_the_numbers_that_transformers_reads() {
    let Some(root) = models() else { return };
    let (Some(path), true) = (file_in(&root.join("smollm2")), root.join("smollm2/hf/config.json").exists()) else {
        return skipped("smollm2 with its folder is not in STRATUNE_MODELS");
    };
    let file = open(&path);
    let folder = block_on(ModelFolder::open(Rc::new(DiskFolder::new(root.join("smollm2/hf")).unwrap()))).unwrap();
    for entry in model_config(&file).unwrap().layout() {
        let (have, want) = (block_on(file.tensor(&entry.name)).unwrap(), block_on(folder.tensor(&entry.name)).unwrap());
        assert_eq!(have.shape, want.shape);
        let same = |(have, want): (&f32, &f32)| f16::from_f32(*have).to_f32() == *want;
        assert!(have.data.iter().zip(&want.data).all(same), "{}", entry.name);
        // The blocks as they are written are the same numbers.
        if let [rows, columns] = have.shape[..] {
            let kind = file.block_type(&entry.name).unwrap();
            let raw = block_on(file.blocks(&entry.name, 1..rows.min(100))).unwrap();
            let blocks = Blocks::of(kind, &raw).unwrap().weights();
            assert_eq!(blocks, have.data[columns..rows.min(100) * columns], "{}", entry.name);
        }
    }
}
