//! Files dropped on a page, read in parts as they are needed.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::future::LocalBoxFuture;
use js_sys::{Array, ArrayBuffer, Reflect, Uint8Array};
use stratune_protocol::{Problem, ProblemKind};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::MessageChannel;

use crate::folder::{Folder, check_name, checked_range, missing, place};

/// A folder of files that the browser handed over.
pub struct BrowserFolder {
    label: String,
    files: BTreeMap<String, web_sys::File>,
}

impl BrowserFolder {
    /// A folder called `label` of these files.
    pub fn new(label: impl Into<String>, files: Vec<(String, web_sys::File)>) -> Self {
        Self { label: label.into(), files: files.into_iter().collect() }
    }
}

impl Folder for BrowserFolder {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    fn size(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|f| f.size() as u64)
    }

    fn read<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>> {
        Box::pin(async move {
            check_name(name, &self.label)?;
            let file = self.files.get(name).ok_or_else(|| missing(self, name, "check the name"))?;
            let at = place(self, name);
            let range = checked_range(range, file.size() as u64, &at)?;
            read_blob(file, range, &at).await
        })
    }
}

/// Bytes of a file. Only these come into memory.
pub(crate) async fn read_blob(blob: &web_sys::Blob, range: Range<u64>, at: &str) -> Result<Vec<u8>, Problem> {
    // Byte positions are exact in f64 up to 2^53.
    let part =
        blob.slice_with_f64_and_f64(range.start as f64, range.end as f64).map_err(|e| refused("read", at, &e))?;
    let buffer = JsFuture::from(part.array_buffer()).await.map_err(|e| refused("read", at, &e))?;
    let bytes = Uint8Array::new(&buffer).to_vec();
    give_back(&buffer.unchecked_into());
    if bytes.len() as u64 == range.end - range.start {
        return Ok(bytes);
    }
    Err(Problem::input(format!("{} bytes came instead of {}", bytes.len(), range.end - range.start))
        .at(at)
        .next("the file changed; choose it again"))
}

/// Gives back the memory of a buffer that is done with. A browser leaves that to its collector, which has let hundreds of
/// MiB gather of a large file's parts, and keeps a buffer of its own making even when it is detached by `transfer`: so it
/// is sent to where nobody is.
pub(crate) fn give_back(buffer: &ArrayBuffer) {
    let Ok(channel) = MessageChannel::new() else { return };
    channel.port2().close();
    // What cannot be sent stays for the collector.
    let _ = channel.port1().post_message_with_transferable(&JsValue::NULL, &Array::of1(buffer));
    channel.port1().close();
}

/// The name of a browser's error, such as `QuotaExceededError`.
pub(crate) fn error_name(error: &JsValue) -> String {
    Reflect::get(error, &"name".into()).ok().and_then(|name| name.as_string()).unwrap_or_default()
}

/// A browser's error as a problem of its storage, with what can be done about it.
pub(crate) fn refused(doing: &str, at: &str, error: &JsValue) -> Problem {
    let message = Reflect::get(error, &"message".into()).ok().and_then(|m| m.as_string()).unwrap_or_default();
    let name = error_name(error);
    let next = match name.as_str() {
        "QuotaExceededError" => "free space on this device or in the browser's site data, then try again",
        "NoModificationAllowedError" | "InvalidStateError" => "close other tabs of this page, then try again",
        "NotReadableError" | "NotFoundError" => "the file moved or changed; choose it again",
        "SecurityError" | "NotAllowedError" => "allow this page to store data (a private window may forbid it)",
        _ => "reload the page and try again",
    };
    Problem::new(ProblemKind::Storage, format!("the browser could not {doing} the file: {name} {message}"))
        .at(at)
        .next(next)
}
