//! What holds of the published files, where they are at hand.
#![allow(clippy::unwrap_used)]

use std::env;
use std::path::PathBuf;

use stratune_data::{Reads, SourceFile, Target, Tokenizer, Wanted, load_labelled, recognise};
use stratune_protocol::{DataConfig, Objective};

use crate::fixtures::check;
use crate::{Folder, Item, Label, Split, TaskFiles, task};

#[path = "../../../tests/src/skipped.rs"]
mod skipped;

/// Folders of `STRATUNE_DATA`, in which a few names are others than the published ones.
struct Data(Folder);

impl Data {
    fn find() -> Option<Self> {
        let root = env::var_os("STRATUNE_DATA").map(PathBuf::from);
        if root.is_none() {
            skipped::skipped("STRATUNE_DATA is not set");
        }
        root.map(|root| Self(Folder(root)))
    }
}

impl TaskFiles for Data {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let other = match path {
            "piqa/valid.jsonl" => "commonsense/raw/piqa_valid.jsonl".into(),
            "piqa/valid-labels.lst" => "commonsense/raw/piqa_valid-labels.lst".into(),
            "hellaswag/hellaswag_val.jsonl" => "commonsense/raw/hellaswag_val1000.jsonl".into(),
            path => path.replace("hellaswag/", "hellaswag_subset/"),
        };
        let folders = ["", "commonsense/", "math/", "glue/", "superglue_fewglue32/", "classify/"];
        folders.iter().find_map(|folder| self.0.read(&format!("{folder}{other}")))
    }
}

/// Rows of each file, as Python's `json` and `split` count them; every label is a choice, and is found in what is trained.
#[test]
fn published_files_are_read_whole() {
    let Some(data) = Data::find() else { return };
    let cases = [
        ("commonsense/boolq", Split::Train, 9427),
        ("commonsense/boolq", Split::Test, 3270),
        ("piqa", Split::Validation, 1838),
        ("piqa", Split::Test, 1838),
        ("social_i_qa", Split::Train, 33_410),
        ("social_i_qa", Split::Test, 1954),
        ("hellaswag", Split::Train, 1000),
        ("hellaswag", Split::Validation, 1000),
        ("hellaswag", Split::Test, 1000),
        ("winogrande", Split::Test, 1267),
        ("arc_easy", Split::Train, 2251),
        ("arc_easy", Split::Test, 2376),
        ("arc_challenge", Split::Train, 1119),
        ("arc_challenge", Split::Test, 1172),
        ("openbookqa", Split::Train, 4957),
        ("openbookqa", Split::Test, 500),
        ("gsm8k", Split::Train, 7473),
        ("gsm8k", Split::Test, 1319),
        ("aqua", Split::Test, 254),
        ("svamp", Split::Test, 1000),
        ("addsub", Split::Test, 395),
        ("multiarith", Split::Test, 600),
        ("singleeq", Split::Test, 508),
        ("mathqa", Split::Test, 2985),
        ("mawps", Split::Test, 238),
        ("cola", Split::Train, 8551),
        ("cola", Split::Validation, 1043),
        ("sst2", Split::Train, 60_614),
        ("sst2", Split::Validation, 6735),
        ("sst2", Split::Test, 872),
        ("mrpc", Split::Train, 4076),
        ("mrpc", Split::Test, 1725),
        ("glue/rte", Split::Train, 2127),
        ("glue/rte", Split::Validation, 277),
        ("wnli", Split::Train, 518),
        ("wnli", Split::Validation, 71),
        ("superglue/boolq", Split::Train, 32),
        ("cb", Split::Train, 32),
        ("copa", Split::Train, 32),
        ("multirc", Split::Train, 154),
        ("record", Split::Train, 32),
        ("superglue/rte", Split::Train, 32),
        ("wic", Split::Train, 32),
        ("wsc", Split::Train, 32),
        ("clinc150", Split::Train, 15_000),
        ("clinc150", Split::Validation, 3000),
        ("clinc150", Split::Test, 4500),
        ("ag_news", Split::Validation, 10_001),
        ("ag_news", Split::Test, 7600),
    ];
    for (name, split, rows) in cases {
        let task = task(name).unwrap();
        let items = task.read(&data, split).unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
        assert_eq!(items.len(), rows, "{name} {split:?}");
        // Of many classes each check walks all, so a part is enough.
        let step = if items[0].choices.len() > 10 { 100 } else { 1 };
        items.iter().step_by(step).for_each(|item| check(task, item));
    }
}

/// LLM-Adapters' rows of PIQA are the original ones, in the same order.
#[test]
fn original_rows_of_piqa_give_llm_adapters_rows() {
    let Some(data) = Data::find() else { return };
    let piqa = task("piqa").unwrap();
    let read = |split| piqa.read(&data, split).unwrap();
    let told = |item: Item| (item.prompt, item.response, item.choices, item.texts);
    let (original, adapted) = (read(Split::Validation), read(Split::Test));
    assert!(original.into_iter().map(told).eq(adapted.into_iter().map(told)));
}

/// What encoders are trained on: how many rows each class has, counted in the files by other means.
#[test]
fn published_rows_have_their_labels() {
    let Some(data) = Data::find() else { return };
    let counts = |name: &str, split: Split| {
        let labelled =
            task(name).unwrap().labelled(&data, split).unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
        let classes = labelled.classes.clone().unwrap();
        let mut counts = vec![0; classes.len()];
        for (text, _, label) in labelled.rows() {
            let Label::Choice(class) = label else { panic!("{label:?}") };
            assert!(!text.is_empty());
            counts[*class] += 1;
        }
        assert_eq!(labelled.json_lines().lines().count(), labelled.items.len());
        (classes.join(" "), counts)
    };
    for (name, split, classes, rows) in [
        ("glue/rte", Split::Train, "entailment not_entailment", vec![1078, 1049]),
        ("cola", Split::Train, "unacceptable acceptable", vec![2528, 6023]),
        ("mrpc", Split::Test, "different equivalent", vec![578, 1147]),
        ("sst2", Split::Test, "negative positive", vec![428, 444]),
        ("wnli", Split::Validation, "not_entailment entailment", vec![40, 31]),
        ("superglue/boolq", Split::Train, "false true", vec![14, 18]),
        ("cb", Split::Train, "entailment contradiction neutral", vec![19, 10, 3]),
        ("wic", Split::Train, "false true", vec![15, 17]),
        ("superglue/rte", Split::Train, "entailment not_entailment", vec![13, 19]),
    ] {
        assert_eq!(counts(name, split), (classes.into(), rows), "{name}");
    }
    let (_, clinc) = counts("clinc150", Split::Validation);
    assert_eq!(clinc, vec![20; 150]);
}

/// A task's rows as a data set: each has its class, two texts have types, and one is as long as BERT may read.
#[test]
fn published_rows_are_a_data_set_for_minilm() {
    let Some(data) = Data::find() else { return };
    let model = |name: &str| data.0.read(&format!("models/all-MiniLM-L6-v2/{name}")).unwrap();
    let (json, settings) = (model("tokenizer.json"), model("tokenizer_config.json"));
    let tokenizer = Tokenizer::from_json(&json, Some(&settings), "tokenizer.json").unwrap();
    let wanted = Wanted { objective: Objective::Auto, reads: Reads::First, type_ids: true, known: &[] };
    for (name, split, are_pairs) in [
        ("glue/rte", Split::Validation, true),
        ("mrpc", Split::Test, true),
        ("cola", Split::Validation, false),
        ("sst2", Split::Test, false),
        ("superglue/boolq", Split::Train, true),
        ("cb", Split::Train, true),
        ("wic", Split::Train, true),
        ("multirc", Split::Train, true),
        ("clinc150", Split::Validation, false),
    ] {
        let labelled = task(name).unwrap().labelled(&data, split).unwrap();
        let bytes = labelled.json_lines().into_bytes();
        let files = [SourceFile { name: format!("{name}.jsonl"), bytes, held_out: false }];
        let label_names = labelled.classes.clone().unwrap();
        let classes = label_names.len();
        let config = DataConfig { label_names, validation_split: 0.0, ..DataConfig::default() };
        let dataset = load_labelled(&files, &config, &tokenizer, &wanted, 128, 0).unwrap();
        assert_eq!((dataset.train.len(), dataset.notices.len()), (labelled.items.len(), 0), "{name}");
        for (row, item) in dataset.train.iter().zip(&labelled.items) {
            let label = row.label.unwrap();
            assert_eq!((label.at, row.tokens[0], row.tokens.last()), (0, 101, Some(&102)), "{name} {}", item.at);
            assert!(matches!((label.target, &item.label), (Target::Class(c), Label::Choice(i)) if c as usize == *i));
            assert_eq!(!row.type_ids.is_empty(), are_pairs, "{name} {}", item.at);
            assert!(row.tokens.len() <= 128);
        }
        let found = recognise(&files, &DataConfig::default()).map(|columns| columns.classes);
        println!("{name}: {} rows, {} cut, {found:?} classes", dataset.train.len(), dataset.report.truncated);
        assert_eq!(found, Some(classes), "{name}");
    }
    let clinc = task("clinc150").unwrap().labelled(&data, Split::Train).unwrap();
    let bytes = clinc.json_lines().into_bytes();
    let files = [SourceFile { name: "clinc.jsonl".into(), bytes, held_out: false }];
    assert_eq!(recognise(&files, &DataConfig::default()).map(|columns| columns.classes), Some(150));
}
