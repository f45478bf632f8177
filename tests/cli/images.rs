//! A vision transformer from a folder of images to labels of other files; and what no run can learn.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{done, path, run};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A folder of so many images of three classes, to train and to measure on.
fn pictures(folder: &Path, copies: usize) {
    for (class, file) in [("drawn", "drawing.png"), ("photo", "photo.jpg"), ("plain", "gray.png")] {
        for split in ["train", "val"] {
            let of_class = folder.join(split).join(class);
            fs::create_dir_all(&of_class).unwrap();
            for copy in 0..copies {
                fs::copy(fixture("images").join(file), of_class.join(format!("{copy}-{file}"))).unwrap();
            }
        }
    }
    fs::write(folder.join("readme.txt"), "Made for a test.").unwrap();
}

/// The lines that are of a text or an image.
fn labels(said: &str) -> Vec<(String, f64)> {
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let labels = lines.filter(|line| line["text"].is_string()).map(|line| line["labels"][0].clone());
    labels.map(|of| (of[0].as_str().unwrap().to_string(), of[1].as_f64().unwrap())).collect()
}

#[test]
fn a_classifier_of_images_from_a_folder_to_labels() {
    let dir = tempfile::tempdir().unwrap();
    let [data, out, again, merged] = [".kept/pictures", "run", "again", "merged"].map(|name| dir.path().join(name));
    pictures(&data, 4);
    let model = fixture("tiny-vit");
    let of_model = ["--model", path(&model), "--device", "cpu"];
    let train = |out: &Path, more: &[&str]| {
        let of_run = ["--data", path(&data), "--out", path(out), "--steps", "24", "--batch-size", "6"];
        let rate = ["train", "--json", "--learning-rate", "1e-2", "--evaluation-share", "1"];
        done(&[&rate[..], &of_run, &of_model, more].concat())
    };
    let told = train(&out, &[]);
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let read = events.iter().find(|event| event["event"] == "data").unwrap();
    assert_eq!(read["classes"], json!([["drawn", 8], ["photo", 8], ["plain", 8]]));
    assert_eq!(
        (&read["format"], &read["train_rows"], &read["validation_rows"]),
        (&"images".into(), &12.into(), &12.into())
    );
    let losses: Vec<f64> =
        events.iter().filter(|e| e["event"] == "step").map(|e| e["loss"].as_f64().unwrap()).collect();
    assert!(losses.len() > 1 && losses[losses.len() - 1] < 0.5 * losses[0], "{losses:?}");
    let last = events.iter().rfind(|event| event["event"] == "validation").unwrap();
    let right: u64 = (0..3).map(|c| last["labels"]["classes"]["rows"][c][c].as_u64().unwrap()).sum();
    assert_eq!(right, 12, "the same images: {last}");

    // IST, too: what is written is what PEFT reads of images, which has no task of them.
    train(&again, &["--ist=faithful"]);
    let config: Value = serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&Value::Null, &json!(["classifier"])));

    let asked = ["drawing.png", "photo.jpg"].map(|file| fixture("images").join(file));
    let asked = asked.each_ref().map(|file| path(file));
    let classify = [&["classify", "--json", "--adapter", path(&out)], &of_model[..], &asked].concat();
    let said = labels(&done(&classify));
    assert_eq!(said.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), ["drawn", "photo"]);
    let measure = [&["eval", "--json", "--adapter", path(&out), "--data", path(&data)], &of_model[..]].concat();
    let measured: Value = serde_json::from_str(done(&measure).lines().last().unwrap()).unwrap();
    assert_eq!(measured["rows"], 12, "those to measure on: {measured}");

    // Merged it is a folder as transformers has it.
    done(&["merge", "--model", path(&model), "--adapter", path(&out), "--out", path(&merged)]);
    let by_itself =
        labels(&done(&[&["classify", "--json", "--device", "cpu", "--model", path(&merged)], &asked[..]].concat()));
    for ((label, share), (want, wanted)) in by_itself.iter().zip(&said) {
        assert!(label == want && (share - wanted).abs() < 1e-4, "{by_itself:?} {said:?}");
    }
    assert!(merged.join("preprocessor_config.json").exists());
    let header = fs::read(merged.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(header[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&header[8..8 + length]).unwrap();
    assert_eq!(header["vit.embeddings.cls_token"]["shape"], json!([1, 1, 32]));
    assert_eq!(header["vit.embeddings.patch_embeddings.projection.weight"]["shape"], json!([32, 3, 4, 4]));
    assert!(header["vit.encoder.layer.2.attention.output.dense.bias"].is_object());
    let card = fs::read_to_string(merged.join("README.md")).unwrap();
    assert!(card.contains("image-classification") && !merged.join("Modelfile").exists(), "{card}");
}

/// What cannot be learned is told before anything is written.
#[test]
fn what_are_no_images_or_no_texts_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [data, damaged, rows, one] = ["pictures", "damaged", "rows.csv", "one"].map(|name| dir.path().join(name));
    pictures(&data, 2);
    pictures(&damaged, 1);
    let broken = damaged.join("train/photo/0-photo.jpg");
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..700]).unwrap();
    fs::write(&rows, "text,label\na,x\nb,y\n").unwrap();
    fs::create_dir_all(one.join("only")).unwrap();
    fs::copy(fixture("images").join("gray.png"), one.join("only/a.png")).unwrap();
    let (vit, bare) = (fixture("tiny-vit"), dir.path().join("bare"));
    fs::create_dir_all(&bare).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(vit.join(file), bare.join(file)).unwrap();
    }
    let cases: [(&Path, &Path, &[&str], &str); 8] = [
        (&vit, &damaged, &[], "0-photo.jpg"),
        (&vit, &rows, &[], "none of the files is an image"),
        (&vit, &one, &[], "one class"),
        (&vit, &data, &["--method", "prompt"], "one for each patch"),
        (&vit, &data, &["--method", "prefix", "--length", "4"], "one for each patch"),
        (&vit, &data, &["--objective", "next_token"], "encoder"),
        (&bare, &data, &[], "preprocessor_config.json"),
        (Path::new("starter"), &data, &[], "the file is an image"),
    ];
    let out = dir.path().join("out");
    for (model, data, more, named) in cases {
        let of_run = ["train", "--device", "cpu", "--model", path(model), "--data", path(data), "--out", path(&out)];
        let ended = run(&[&of_run[..], more].concat());
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && told.contains(named), "{named}: {told}");
        assert!(!out.exists(), "{named}");
    }
    let text = run(&["classify", "--device", "cpu", "--model", path(&vit), path(&rows)]);
    let told = String::from_utf8_lossy(&text.stderr).into_owned();
    assert!(told.contains("neither a PNG nor a JPEG"), "{told}");
}
