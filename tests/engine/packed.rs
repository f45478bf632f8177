//! Rows that come packed: compressed, or in Parquet.

use stratune_data::{Dataset, SourceFile, Tokenizer, load, unpack};
use stratune_protocol::{DataConfig, DataFormat, DeviceChoice};
use stratune_runtime::block_on;
use stratune_session::{Engine, data_fingerprint};
use stratune_tests::fixtures::folder;
use stratune_train::{Command, Event, RunConfig};

use crate::{Page, config, problem, train};

/// The same rows, by the names of the fixtures' files.
const PLAIN: &str = "rows.jsonl";
const PACKED: [&str; 7] = [
    "rows.jsonl.gz",
    "rows.jsonl.zst",
    "snappy.parquet",
    "gzip.parquet",
    "lz4.parquet",
    "plain.parquet",
    "delta.parquet",
];

/// A file of the fixtures' rows.
pub fn rows(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/fixtures/rows/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What a packed file holds.
pub fn unpacked(name: &str, bytes: &[u8], format: DataFormat) -> Vec<u8> {
    let mut all = Vec::new();
    unpack(name, bytes.into(), format, &mut all).unwrap();
    all
}

fn losses(page: &Page) -> Vec<f64> {
    let events = page.events();
    assert_eq!(problem(&events), None);
    events.iter().filter_map(|event| if let Event::Step(step) = event { Some(step.loss) } else { None }).collect()
}

/// A page's engine is given what another worker unpacks: a run on it is one on the rows themselves, and a reload, which reads
/// the packed file's copy, has it unpacked again.
#[test]
fn packed_rows_are_unpacked_for_the_engine() {
    let run = |name: &str| {
        let config = RunConfig { model: "model".into(), ..config() };
        let mut page = Page::ready();
        page.choose("model", name);
        page.send(train(&config));
        let before = losses(&page);
        let mut reloaded = Page { storage: page.storage.clone(), ..Page::new() };
        reloaded.engine = Engine::new(reloaded.immediate.clone(), page.storage.clone(), page.storage.clone());
        reloaded.send(Command::Start { device: DeviceChoice::Cpu });
        reloaded.send(Command::Continue);
        assert_eq!(losses(&reloaded), before, "{name}");
        assert_eq!(page.copies(), ["model", name]);
        (before, page.storage.unpacked.take())
    };
    let (wanted, unpacked) = run(PLAIN);
    assert!(wanted.len() == 2 && unpacked.is_empty(), "{wanted:?} {unpacked:?}");
    for name in ["rows.jsonl.gz", "snappy.parquet"] {
        assert_eq!(run(name), (wanted.clone(), vec![name.to_owned(); 2]), "{name}");
    }
}

#[test]
fn packed_rows_are_the_same_wherever_they_are_unpacked() {
    let file = |name: &str| block_on(folder("tokenizer").read(name, None)).unwrap();
    let (json, settings) = (file("tokenizer.json"), file("tokenizer_config.json"));
    let tokenizer = Tokenizer::from_json(&json, Some(&settings), "").unwrap();
    let data = |name: &str, bytes: Vec<u8>| -> Dataset {
        let file = SourceFile { name: name.into(), bytes, held_out: false };
        let config =
            DataConfig { prompt_template: "{prompt} {id} {score} {kept}".into(), max_length: 64, ..Default::default() };
        load(&[file], &config, &tokenizer, 64, 0).unwrap()
    };
    let wanted = data_fingerprint(&data(PLAIN, rows(PLAIN)));
    for name in PACKED {
        let (here, elsewhere) = (data(name, rows(name)), data(name, unpacked(name, &rows(name), DataFormat::Auto)));
        assert_eq!(here, elsewhere, "{name}");
        assert_eq!(data_fingerprint(&here), wanted, "{name}");
    }
}
