//! Files that a person chose or dropped, folders included.

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{DragEvent, File, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry, HtmlInputElement};

use super::worker::field;

/// A file and its path: `folder/name` if it came with a folder, its name otherwise.
#[derive(Clone)]
pub struct Picked {
    /// Path.
    pub path: String,
    /// The file itself, unread.
    pub file: File,
}

/// The files chosen in `input`, which is emptied so that the same file can be chosen again.
pub fn from_input(input: &HtmlInputElement) -> Vec<Picked> {
    let Some(list) = input.files() else { return Vec::new() };
    let picked = (0..list.length())
        .filter_map(|i| list.get(i))
        .map(|file| {
            let inside = field(&file, "webkitRelativePath").as_string().unwrap_or_default();
            Picked { path: if inside.is_empty() { file.name() } else { inside }, file }
        })
        .collect();
    input.set_value("");
    picked
}

/// Folders within a dropped one whose files come with it: images may be in `pets/train/cat`.
const DEEPEST: usize = 3;

/// The dropped files; of dropped folders the files inside them, in their own folders too.
///
/// The event's list is only there while the event is handled, so it is read before the future is first polled.
pub fn from_drop(event: &DragEvent) -> impl Future<Output = Vec<Picked>> + use<> {
    let items = event.data_transfer().map(|transfer| transfer.items());
    let entry = |i| items.as_ref()?.get(i)?.webkit_get_as_entry().ok()?;
    let entries: Vec<FileSystemEntry> =
        (0..items.as_ref().map_or(0, |items| items.length())).filter_map(entry).collect();
    async move {
        let mut picked = Vec::new();
        let mut left: Vec<(usize, FileSystemEntry)> = entries.into_iter().rev().map(|entry| (0, entry)).collect();
        while let Some((depth, entry)) = left.pop() {
            match entry.dyn_into::<FileSystemDirectoryEntry>() {
                Ok(folder) if depth <= DEEPEST => {
                    left.extend(children(&folder).await.into_iter().rev().map(|child| (depth + 1, child)));
                }
                Ok(_) => {}
                Err(entry) => picked.extend(file_of(entry).await),
            }
        }
        picked
    }
}

async fn children(folder: &FileSystemDirectoryEntry) -> Vec<FileSystemEntry> {
    let reader = folder.create_reader();
    let mut all = Vec::new();
    // A reader hands out its entries in portions; an empty one is the last.
    loop {
        let portion = Promise::new(&mut |found, failed| {
            let _ = reader.read_entries_with_callback_and_callback(&found, &failed);
        });
        match JsFuture::from(portion).await.ok().and_then(|p| p.dyn_into::<Array>().ok()) {
            Some(portion) if portion.length() > 0 => all.extend(portion.iter().filter_map(|e| e.dyn_into().ok())),
            _ => return all,
        }
    }
}

async fn file_of(entry: FileSystemEntry) -> Option<Picked> {
    let path = entry.full_path().trim_start_matches('/').to_string();
    let entry: FileSystemFileEntry = entry.dyn_into().ok()?;
    let file = Promise::new(&mut |found, failed| entry.file_with_callback_and_callback(&found, &failed));
    Some(Picked { path, file: JsFuture::from(file).await.ok()?.dyn_into().ok()? })
}
