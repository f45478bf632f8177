//! A GGUF file as a model folder.

use std::borrow::Cow;
use std::rc::Rc;

use pollster::block_on;
use stratune_protocol::Problem;

use super::write::Writer;
use super::{BlockType, Gguf, RowOrder, View};
use crate::folder::MemoryFolder;
use crate::model_folder::ModelFolder;

fn file(value: f32) -> Gguf {
    let writer = Writer::default().floats("v", &[2], &[2.0, value]).tensor_of("m", &[32, 2], 8, vec![1; 68]);
    let folder = MemoryFolder::new("toy", vec![("a.gguf".into(), Cow::Owned(writer.bytes()))]);
    block_on(Gguf::open(Rc::new(folder), vec!["a.gguf".into()])).unwrap()
}

fn open(value: f32, files: &[(&str, &str)], matrix: [usize; 2]) -> Result<ModelFolder, Problem> {
    let view = |tensor: &str, shape: &[usize], added| View {
        tensor: tensor.into(),
        first_row: 0,
        shape: shape.into(),
        order: RowOrder::Same,
        added,
    };
    let views = [("norm.weight", view("v", &[2], 1.0)), ("w.weight", view("m", &matrix, 0.0))];
    let files = files.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())).collect();
    ModelFolder::of_gguf(file(value), files, views.map(|(name, view)| (name.to_string(), view)).into())
}

const FILES: [(&str, &str); 3] =
    [("config.json", "{\"a\": 1}"), ("tokenizer.json", "T"), ("generation_config.json", "{\"eos_token_id\": [3, 4]}")];

#[test]
fn a_file_is_seen_as_a_folder() {
    let model = open(3.0, &FILES, [2, 32]).unwrap();
    assert_eq!(model.label(), "toy/a.gguf");
    assert_eq!(model.config()["a"], 1);
    assert_eq!(model.names(), ["norm.weight", "w.weight"]);
    assert_eq!((model.shape("w.weight"), model.shape("m")), (Some(&[2, 32][..]), None));
    assert_eq!(block_on(model.tensor("norm.weight")).unwrap().data, [1.0, 2.0]);
    assert_eq!(block_on(model.numbers("w.weight", 31..33)).unwrap(), [257.0 / 65536.0 / 256.0; 2]);
    assert_eq!(block_on(model.tokenizer()).unwrap(), (b"T".to_vec(), None));
    assert_eq!(block_on(model.ends()).unwrap(), [3, 4]);
    assert_eq!(block_on(model.beside()).unwrap().len(), 2);
    assert_eq!((model.block_type("w.weight"), model.block_type("m")), (Some(BlockType::Q8_0), None));
    assert_eq!(block_on(model.blocks("w.weight", 1..2)).unwrap(), [1; 34]);
    for problem in [block_on(model.blocks("w.weight", 1..3)).err(), block_on(model.numbers("w.weight", 0..65)).err()] {
        assert!(problem.unwrap().what.contains("no tensor 'w.weight'"));
    }
}

#[test]
fn another_training_is_another_fingerprint() {
    let of = |value: f32| block_on(open(value, &FILES, [2, 32]).unwrap().fingerprint()).unwrap();
    assert_eq!(of(3.0), of(3.0));
    assert_ne!(of(3.0), of(4.0));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    assert!(open(3.0, &FILES, [3, 32]).err().unwrap().what.contains("'m' is [2, 32] where the model has [3, 32]"));
    assert!(open(3.0, &FILES[1..], [2, 32]).err().unwrap().what.contains("config.json cannot be read"));
}
