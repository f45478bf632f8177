//! What is written as GGUF is read again as the same model, and with an adapter as the model with that.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value, json};
use stratune_data::{GgufTokenizer, Tokenizer, WrittenTokenizer};
use stratune_models::Model;
use stratune_models::families::FAMILIES;
use stratune_peft::{Adapter, TargetOverride};
use stratune_protocol::BaseDtype;
use stratune_runtime::block_on;
use stratune_session::{attach, model_config, open_model, read_adapter, read_gguf_adapter, write_gguf_adapter};
use stratune_store::{
    BlockType, Ftype, Gguf, GgufMetadata, GgufTensor, GgufWriter, MemoryFolder, MemorySink, ModelFolder, RowOrder, View,
};
use stratune_tests::{fixtures, skipped, worst};

use crate::made::{as_gguf, changed, folder, logits, model};
use crate::{file_in, fixture, models, open};

/// Fixtures, and what of their configuration a GGUF file or llama.cpp has no place for, with another value: windows in some
/// blocks, biases, a scale of scores of its own.
fn written() -> Vec<(&'static str, Value)> {
    let all_see_all = |layers: usize| json!(vec!["full_attention"; layers]);
    vec![
        ("tiny-llama", json!({})),
        ("tiny-llama3", json!({})),
        ("tiny-mistral", json!({"sliding_window": null})),
        ("tiny-qwen2", json!({"layer_types": all_see_all(4)})),
        ("tiny-qwen2-yarn", json!({})),
        ("tiny-qwen3", json!({"layer_types": all_see_all(4), "attention_bias": false})),
        ("tiny-gemma", json!({"attention_bias": false})),
        ("tiny-gemma2", json!({"attention_bias": false, "query_pre_attn_scalar": 12})),
        ("tiny-gemma3", json!({"attention_bias": false, "query_pre_attn_scalar": 12})),
        ("tiny-gemma3-multimodal", json!({"attention_bias": false, "query_pre_attn_scalar": 8})),
        (
            "tiny-smollm3",
            json!({"layer_types": all_see_all(3), "no_rope_layers": [1, 1, 1], "attention_bias": false, "mlp_bias": false}),
        ),
        ("tiny-granite", json!({})),
        ("tiny-olmo2", json!({"attention_bias": false})),
        ("tiny-arcee", json!({"attention_bias": false, "mlp_bias": false})),
        ("tiny-phi3", json!({})),
        ("tiny-phi3-short", json!({})),
        ("tiny-gpt2", json!({"scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true})),
        ("tiny-gpt-neox", json!({})),
    ]
}

/// A fixture with its adapter, if it has one.
fn with_adapter(name: &str) -> Option<Adapter> {
    let name = match name {
        "tiny-llama" => "peft-lora".to_string(),
        "tiny-llama3" | "tiny-qwen2-yarn" | "tiny-phi3-short" => return None,
        other => other.replace("tiny-", "peft-"),
    };
    Some(block_on(read_adapter(&*fixtures::folder(&name))).unwrap())
}

#[test]
fn each_family_comes_back_from_a_file_as_it_went_in() {
    for (name, changes) in written() {
        let source = changed(name, changes);
        let base = model(&source, BaseDtype::F32);
        let (want, largest) = logits(&base);
        for (ftype, tolerance) in [
            (Ftype::F32, 1e-6),
            // 11 bits of each number, in three blocks.
            (Ftype::F16, 5e-3),
        ] {
            let file = as_gguf(&source, base.clone(), ftype);
            let (have, _) = logits(&model(&file, BaseDtype::F32));
            let off = worst(&have, &want);
            assert!(off <= tolerance * largest, "{name} in {}: {off:e} of {largest}", ftype.name());
        }
    }
}

/// No family is read and not written: `written` has a fixture of each.
#[test]
fn each_family_with_a_form_is_among_them() {
    let tested: Vec<String> = written()
        .into_iter()
        .map(|(name, changes)| model_config(&changed(name, changes)).unwrap().report("", 0).family)
        .collect();
    for family in FAMILIES.into_iter().filter(|family| family.gguf.is_some()) {
        assert!(tested.iter().any(|name| name == family.model_type), "{}", family.model_type);
    }
}

#[test]
fn a_merged_model_is_the_model_with_its_adapter() {
    for (name, changes) in written() {
        let Some(adapter) = with_adapter(name) else { continue };
        let source = changed(name, changes);
        let mut tuned = model(&source, BaseDtype::F32);
        let (before, _) = logits(&tuned);
        block_on(attach(&mut tuned, &adapter)).unwrap();
        let (want, largest) = logits(&tuned);
        assert!(worst(&before, &want) > 1e-2, "{name}: the adapter does something");
        let (have, _) = logits(&model(&as_gguf(&source, tuned, Ftype::F32), BaseDtype::F32));
        let off = worst(&have, &want);
        // W + s · BA as one matrix: sums in another order.
        assert!(off <= 2e-5 * largest, "{name}: {off:e} of {largest}");
    }
}

/// The tensors of a file, as they lie there.
fn tensors(bytes: Vec<u8>) -> (ModelFolder, Value) {
    let open = || MemoryFolder::new("toy", vec![("a.gguf".into(), bytes.clone().into())]);
    let gguf = block_on(Gguf::open(std::rc::Rc::new(open()), vec!["a.gguf".into()])).unwrap();
    let metadata = gguf.metadata().clone();
    let view = |(name, shape): (String, Vec<usize>)| {
        (name.clone(), View { tensor: name, first_row: 0, shape, order: RowOrder::Same, added: 0.0 })
    };
    let views: BTreeMap<String, View> = gguf.shapes().into_iter().map(view).collect();
    (ModelFolder::of_gguf(gguf, vec![("config.json".into(), b"{}".to_vec())], views).unwrap(), metadata)
}

fn file_of(source: &ModelFolder, model: stratune_models::Model) -> ModelFolder {
    let mut sink = MemorySink::default();
    let merging = stratune_models::MergingModel::new(model).unwrap();
    block_on(stratune_session::write_gguf(source, &merging, Ftype::F32, "toy", &mut sink, &mut |_| {})).unwrap();
    tensors(sink.files.remove(0).1).0
}

/// As llama.cpp does it: to each matrix of the base's file alpha / rank · B A, rank by rank of the tensors, is what the merged
/// file has.
#[test]
fn an_adapter_applied_by_hand_is_the_merged_model() {
    for (name, changes) in written() {
        let Some(mut adapter) = with_adapter(name) else { continue };
        let methods: Vec<_> = adapter.methods.iter().cloned().collect();
        if name == "tiny-llama" {
            // Another alpha at some layers, which a file has but one of.
            adapter.methods.0 = methods
                .into_iter()
                .map(|mut method| {
                    let usual = TargetOverride { rank: None, alpha: None };
                    method.overrides.entry("q_proj".into()).or_insert(usual).alpha = Some(3.0);
                    method
                })
                .collect();
        }
        let source = changed(name, changes);
        let config = model_config(&source).unwrap();
        let base = model(&source, BaseDtype::F32);
        let mut tuned = base.clone();
        block_on(attach(&mut tuned, &adapter)).unwrap();
        let mut sink = MemorySink::default();
        block_on(write_gguf_adapter(&source, &config, &adapter, "toy", &mut sink)).unwrap();
        let (file, bytes) = sink.files.remove(0);
        read_back(&file, &bytes, &base, &tuned, name);
        let (adapter, metadata) = tensors(bytes);
        assert_eq!((&metadata["general.type"], &metadata["adapter.type"]), (&json!("adapter"), &json!("lora")));
        let alpha = metadata["adapter.lora.alpha"].as_f64().unwrap() as f32;
        let (before, after) = (file_of(&source, base), file_of(&source, tuned));
        let tensor = |folder: &ModelFolder, name: &str| block_on(folder.tensor(name)).unwrap();
        let mut changed = 0;
        for weight in before.names() {
            let (mut want, have) = (tensor(&before, &weight), tensor(&after, &weight));
            if adapter.shape(&format!("{weight}.lora_a")).is_some() {
                changed += 1;
                let [a, b] = ["a", "b"].map(|end| tensor(&adapter, &format!("{weight}.lora_{end}")));
                let (rank, inputs) = (a.shape[0], a.shape[1]);
                for (row, b) in want.data.chunks_mut(inputs).zip(b.data.chunks(rank)) {
                    for (r, factor) in b.iter().enumerate() {
                        let a = &a.data[r * inputs..(r + 1) * inputs];
                        row.iter_mut().zip(a).for_each(|(w, a)| *w += alpha / rank as f32 * factor * a);
                    }
                }
            }
            let off = worst(&have.data, &want.data);
            // Sums of a few products in another order.
            assert!(off <= 1e-5, "{name} {weight}: {off:e}");
        }
        assert_eq!(2 * changed, adapter.names().len(), "{name}");
        assert!(changed > 0, "{name}");
    }
}

/// An adapter's file, put on the base again, gives the model that it was written of.
fn read_back(file: &str, bytes: &[u8], base: &Model, tuned: &Model, name: &str) {
    let folder = Rc::new(MemoryFolder::new("written", vec![(file.to_string(), bytes.to_vec().into())]));
    let adapter = block_on(read_gguf_adapter(folder, file, &base.config)).unwrap_or_else(|p| panic!("{name}: {p}"));
    let mut again = base.clone();
    block_on(attach(&mut again, &adapter)).unwrap();
    let (wanted, largest) = logits(tuned);
    let off = worst(&logits(&again).0, &wanted);
    // The scale of each layer is in B, and multiplied once more.
    assert!(off <= 1e-5 * largest, "{name}: {off:e} of {largest}");
}

#[test]
fn what_is_no_adapter_of_this_model_is_refused() {
    let of = |architecture: &str, kind: &str, tensors: &[(&str, [usize; 2])]| {
        let text = |text: &str| Value::from(text).into();
        let metadata: GgufMetadata = [
            ("general.architecture".to_string(), text(architecture)),
            ("general.type".to_string(), text(kind)),
            ("adapter.type".to_string(), text("lora")),
        ]
        .into();
        let described: Vec<GgufTensor> = tensors
            .iter()
            .map(|(name, shape)| GgufTensor { name: (*name).into(), shape: (*shape).into(), kind: BlockType::F32 })
            .collect();
        let mut sink = MemorySink::default();
        block_on(async {
            let mut writer = GgufWriter::begin(&mut sink, "a.gguf", &metadata, &described).await.unwrap();
            for (_, shape) in tensors {
                writer.add(&vec![0; 4 * shape[0] * shape[1]]).await.unwrap();
            }
            writer.finish().unwrap();
        });
        let (name, bytes) = sink.files.remove(0);
        let folder = Rc::new(MemoryFolder::new("made", vec![(name, bytes.into())]));
        let config = model_config(&changed("tiny-llama", json!({}))).unwrap();
        block_on(read_gguf_adapter(folder, "a.gguf", &config)).unwrap_err()
    };
    let config = model_config(&changed("tiny-llama", json!({}))).unwrap();
    let hidden = config.hidden_size;
    let [a, b] = ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"];
    for (problem, named) in [
        (of("llama", "model", &[]), "no LoRA adapter"),
        (of("qwen3", "adapter", &[]), "models of qwen3"),
        (of("llama", "adapter", &[]), "no layer"),
        (of("llama", "adapter", &[(a, [2, hidden])]), "lora_b"),
        (of("llama", "adapter", &[(a, [2, hidden + 1]), (b, [hidden, 2])]), "where the model has"),
        (of("llama", "adapter", &[(a, [2, hidden]), (b, [hidden, 3])]), "where the model has"),
        (of("llama", "adapter", &[("token_embd.weight.lora_x", [2, hidden])]), "token_embd.weight.lora_x"),
    ] {
        assert!(problem.what.contains(named) && !problem.at.is_empty(), "{named}: {problem:?}");
    }
}

#[test]
fn what_is_no_lora_is_no_adapter_in_gguf() {
    for (adapter, named) in [
        ("peft-dora", "DoRA"),
        ("peft-ia3", "IA"),
        ("peft-pissa", "PiSSA"),
        ("peft-vera", "VeRA"),
        ("peft-prefix", "refix"),
    ] {
        let adapter = block_on(read_adapter(&*fixtures::folder(adapter))).unwrap();
        let source = changed("tiny-llama", json!({}));
        let config = model_config(&source).unwrap();
        let mut sink = MemorySink::default();
        let problem = block_on(write_gguf_adapter(&source, &config, &adapter, "toy", &mut sink)).unwrap_err();
        assert!(problem.what.contains(named) && problem.next.contains("--format gguf"), "{problem:?}");
        assert!(sink.files.is_empty());
    }
    // rsLoRA is one, with another scale.
    let adapter = block_on(read_adapter(&*fixtures::folder("peft-rslora"))).unwrap();
    let source = changed("tiny-llama", json!({}));
    let factors = adapter.lora_factors(&model_config(&source).unwrap().report("", 0)).unwrap();
    let method = &adapter.methods[0];
    let rank = factors[0].rank() as f32;
    assert_eq!(factors[0].scale, method.alpha.unwrap() / rank.sqrt());
}

/// What a file says of itself goes along, and so does what nothing has changed.
#[test]
fn a_file_made_of_a_file_has_its_keys_and_its_blocks() {
    let source = open(&fixture("llama3"));
    let file = as_gguf(&source, model(&source, BaseDtype::File), Ftype::Q8_0);
    let (before, after) = (source.gguf().unwrap(), file.gguf().unwrap());
    for (key, value) in before.metadata().as_object().unwrap() {
        match key.as_str() {
            "general.file_type" => assert_eq!(after.metadata()[key], json!(7)),
            "general.quantization_version" | "general.alignment" => {}
            _ => assert_eq!(after.value(key), before.value(key), "{key}: {value}"),
        }
    }
    let factors = |gguf: &Gguf| block_on(gguf.vector(stratune_models::families::ROPE_FACTORS)).unwrap();
    assert_eq!(factors(after), factors(before));
    // Norms of Gemma have had one added, which is not done, or undone, twice; blocks are not rounded twice.
    for name in ["tiny-gemma", "tiny-llama"] {
        let folder = changed(name, json!({"attention_bias": false}));
        let first = as_gguf(&folder, model(&folder, BaseDtype::F32), Ftype::Q8_0);
        let second = as_gguf(&first, model(&first, BaseDtype::File), Ftype::Q8_0);
        let kinds: Vec<_> = first.names().iter().filter_map(|name| first.block_type(name)).collect();
        assert!([BlockType::Q8_0, BlockType::F16, BlockType::F32].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
        for tensor in first.names() {
            let rows = first.shape(&tensor).unwrap()[0];
            let [want, have] = [&first, &second].map(|folder| block_on(folder.blocks(&tensor, 0..rows)).unwrap());
            assert_eq!(have, want, "{name} {tensor}");
        }
    }
}

/// A tokenizer from a file, written and read again.
fn through_a_file(json: &[u8], config: &[u8], ends: &[u32], rows: usize) -> (Value, Tokenizer) {
    let written = WrittenTokenizer::of(json, Some(config), ends, rows, "toy").unwrap_or_else(|p| panic!("{p:?}"));
    let metadata = Value::Object(written.metadata.into_iter().collect());
    let again = GgufTokenizer::read(&metadata, "toy").unwrap();
    (metadata, Tokenizer::from_json(&again.json, Some(&again.config), "toy").unwrap())
}

#[test]
fn a_folders_tokenizer_comes_back_from_a_file() {
    let folder = fixtures::folder("tokenizer");
    let read = |name: &str| block_on(folder.read(name, None)).unwrap();
    let (json, config) = (read("tokenizer.json"), read("tokenizer_config.json"));
    let (metadata, tokenizer) = through_a_file(&json, &config, &[], 324);
    assert_eq!(metadata["tokenizer.ggml.pre"], "gpt-2");
    // As many as the embedding has rows.
    assert_eq!(metadata["tokenizer.ggml.tokens"].as_array().unwrap().len(), 324);
    assert_eq!(metadata["tokenizer.ggml.token_type"][323], 5);
    let samples: Value = serde_json::from_slice(&read("samples.json")).unwrap();
    for sample in samples.as_array().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(sample["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode(sample["text"].as_str().unwrap()).unwrap(), ids);
    }
}

/// The vocabularies of real files, SentencePiece's and BPE's, through `tokenizer.json` and back: the same keys, the same tokens of
/// the texts beside them.
#[test]
fn real_vocabularies_come_back_as_they_were() {
    let Some(root) = models() else { return };
    for name in ["smollm2", "gemma3"] {
        let (Some(path), Ok(text)) = (file_in(&root.join(name)), std::fs::read(root.join(name).join("tokens.json")))
        else {
            skipped(format!("{name} or its tokens.json is not in STRATUNE_MODELS"));
            continue;
        };
        let file = open(&path);
        let (json, config) = block_on(file.tokenizer()).unwrap();
        let rows = model_config(&file).unwrap().vocab_size;
        let ends = block_on(file.ends()).unwrap();
        let (metadata, tokenizer) = through_a_file(&json, &config.unwrap(), &ends, rows);
        let before = file.gguf().unwrap().metadata();
        for key in ["model", "tokens", "merges", "bos_token_id", "eos_token_id", "add_bos_token"] {
            let key = format!("tokenizer.ggml.{key}");
            let same = metadata[&key] == before[&key] || key.ends_with("tokens") && name == "gemma3";
            assert!(same, "{name}: {key}");
        }
        assert_eq!(metadata["tokenizer.chat_template"], before["tokenizer.chat_template"], "{name}");
        let samples: Vec<crate::Sample> = serde_json::from_slice(&text).unwrap();
        let differ = samples.iter().filter(|sample| tokenizer.encode(&sample.text).unwrap() != sample.ids).count();
        println!("{name}: {} texts, {differ} differ", samples.len());
        assert_eq!(differ, 0, "{name}");
    }
}

/// A model of the hub's folder form opens from what was written of it, with everything that lies beside weights.
#[test]
fn folders_of_all_shapes_open_again_and_compute_the_same() {
    for (name, adapter) in
        [("tiny-phi3", "peft-phi3"), ("tiny-gpt2", "peft-gpt2"), ("tiny-gemma3-multimodal", "peft-gemma3-multimodal")]
    {
        let source = block_on(open_model(fixtures::folder(name))).unwrap();
        let mut tuned = model(&source, BaseDtype::F32);
        let before = tuned.config.clone();
        block_on(attach(&mut tuned, &block_on(read_adapter(&*fixtures::folder(adapter))).unwrap())).unwrap();
        let (want, largest) = logits(&tuned);
        let merging = stratune_models::MergingModel::new(tuned).unwrap();
        let mut sink = MemorySink::default();
        let stored = stratune_store::Stored::F32;
        block_on(stratune_session::write_model_folder(&source, &before, &merging, stored, &mut sink, &mut |_| {}))
            .unwrap();
        let merged = folder(sink.files);
        let (have, _) = logits(&model(&merged, BaseDtype::F32));
        let off = worst(&have, &want);
        assert!(off <= 2e-5 * largest, "{name}: {off:e} of {largest}");
        // What belongs to images is there, to the bit.
        let others = source.names().into_iter().filter(|other| other.contains("vision"));
        for other in others {
            let [a, b] = [&source, &merged].map(|folder| block_on(folder.tensor(&other)).unwrap());
            assert_eq!(a, b, "{other}");
        }
        assert!(!name.contains("multimodal") || merged.names().iter().any(|name| name.contains("vision")));
    }
}
