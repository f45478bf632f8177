//! The adapter that a person takes away.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use stratune_session::{open_model, read_adapter};
use stratune_store::{GgufFolder, MemoryFolder};
use zip::ZipArchive;

/// Waits for the zip of this name that the browser puts into `folder`, and reads it.
pub async fn downloaded(folder: &Path, name: &str) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // A download has another ending until it is whole.
        if let Ok(zip) = std::fs::read(folder.join(name)) {
            return zip;
        }
        assert!(Instant::now() < deadline, "no {name} was downloaded within a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The files of a zip.
pub fn unzipped(zip: &[u8]) -> Vec<(String, Cow<'static, [u8]>)> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut files = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.push((entry.name().unwrap().into_owned(), Cow::Owned(bytes)));
    }
    files
}

/// Reads the adapter natively, as PEFT's format has it, and checks that something was learned.
pub async fn check(zip: &[u8]) {
    let folder = MemoryFolder::new("the downloaded adapter", unzipped(zip));
    let adapter = read_adapter(&folder).await.unwrap();
    assert!(!adapter.tensors.is_empty());
    let factors = adapter.tensors.iter().filter(|(path, _)| path.ends_with("lora_B.weight"));
    let learned = factors.flat_map(|(_, factor)| &factor.data);
    assert!(learned.clone().all(|value| value.is_finite()), "the adapter holds numbers that are none");
    assert!(learned.clone().any(|value| *value != 0.0), "every B is zero: nothing was learned");
}

/// Opens the GGUF model in a zip, and looks at what is beside it.
pub async fn check_model(zip: &[u8]) {
    let files = unzipped(zip);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert!(["model.gguf", "Modelfile", "README.md"].iter().all(|name| names.contains(name)), "{names:?}");
    let folder = Rc::new(MemoryFolder::new("taken", files));
    let taken = open_model(Rc::new(GgufFolder::new(folder, "model.gguf").unwrap())).await.unwrap();
    let of = taken.block_type("model.layers.0.mlp.down_proj.weight").map(|kind| kind.name());
    assert_eq!(of, Some("Q8_0"));
}
