//! Data files of every format.

use stratune_data::{Reads, SourceFile, Tokenizer, Wanted, load, load_labelled, recognise};
use stratune_protocol::{DataConfig, Objective};
use stratune_runtime::block_on;
use stratune_tests::fixtures::folder;

use crate::damage::survives;

const FILES: [(&str, &str); 9] = [
    (
        "alpaca.jsonl",
        r#"{"instruction":"Say ho","input":"","output":"ho","history":[["a","b"]],"system":"s","id":1}
{"instruction":"Say hi","input":"twice","output":"hi hi"}
"#,
    ),
    (
        "chat.jsonl",
        r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"u"}]},{"role":"assistant","content":"a","weight":1}],"tools":[]}
{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}
"#,
    ),
    ("sharegpt.json", r#"[{"system":"s","conversations":[{"from":"human","value":"u"},{"from":"gpt","value":"a"}]}]"#),
    ("pair.json", r#"{"data":[{"prompt":"p","completion":"c"},{"prompt":"q","completion":"d"}]}"#),
    ("trl.jsonl", r#"{"prompt":[{"role":"user","content":"u"}],"completion":[{"role":"assistant","content":"a"}]}"#),
    ("table.csv", "prompt,completion,id\r\np,\"c, \"\"d\"\"\r\ne\",1\r\nq,d,2\r\n"),
    ("table.tsv", "instruction\tinput\toutput\ni\tx\to\n"),
    ("text.txt", "Once upon a time there was a mill.\r\n\r\nThe end. 東京 🦀"),
    ("text.md", "# A mill\n\nOnce."),
];

/// Files of the same rows, in the folder of this name.
const OF_ROWS: [&str; 8] = [
    "rows.jsonl.gz",
    "rows.jsonl.zst",
    "snappy.parquet",
    "gzip.parquet",
    "zstd.parquet",
    "lz4.parquet",
    "plain.parquet",
    "delta.parquet",
];

/// The same of rows with labels.
const LABELLED: [(&str, &str); 4] = [
    ("classes.csv", "id,sentence,label\r\n1,a,good\r\n2,\"b, c\",bad\r\n3,d,good\r\n"),
    ("pairs.tsv", "premise\thypothesis\tlabel\na\tb\t0\nc\td\t1\ne\tf\t-1\n"),
    (
        "numbers.jsonl",
        "{\"text\":\"a\",\"score\":1.5}\n{\"text\":\"b\",\"score\":\"2\"}\n{\"text\":\"c\",\"score\":-1e3}\n",
    ),
    ("classes.json", r#"[{"text":"a","label":true},{"text":"b","label":false},{"text":"c","label":"yes"}]"#),
];

fn tokenizer() -> Tokenizer {
    let file = |name: &str| block_on(folder("tokenizer").read(name, None)).unwrap();
    let (json, settings) = (file("tokenizer.json"), file("tokenizer_config.json"));
    Tokenizer::from_json(&json, Some(&settings), "").unwrap()
}

#[test]
fn labels() {
    let tokenizer = tokenizer();
    let config = DataConfig { max_length: 8, ..DataConfig::default() };
    for (name, file) in LABELLED {
        survives(name, file.as_bytes(), 400, |bytes| {
            let files = [SourceFile { name: name.into(), bytes: bytes.to_vec(), held_out: false }];
            recognise(&files, &config);
            let wanted = Wanted { objective: Objective::Auto, reads: Reads::First, type_ids: true, known: &[] };
            load_labelled(&files, &config, &tokenizer, &wanted, 64, 0).map(|_| ())
        });
    }
}

#[test]
fn data() {
    let tokenizer = tokenizer();
    let texts = FILES.map(|(name, text)| (name, text.as_bytes().to_vec()));
    let rows = |name| (name, std::fs::read(format!("{}/fixtures/rows/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap());
    for (name, file) in texts.into_iter().chain(OF_ROWS.map(rows)) {
        survives(name, &file, 400, |bytes| {
            let files = [SourceFile { name: name.into(), bytes: bytes.to_vec(), held_out: false }];
            load(&files, &DataConfig { max_length: 16, ..DataConfig::default() }, &tokenizer, 64, 0).map(|_| ())
        });
    }
}
