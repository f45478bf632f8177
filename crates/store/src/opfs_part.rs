//! A file in the browser's private storage that grows piece by piece, and what is kept beside it.

use js_sys::{IteratorNext, Uint8Array};
use stratune_protocol::Problem;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{FileSystemDirectoryHandle, FileSystemReadWriteOptions, FileSystemRemoveOptions};

use crate::browser::{error_name, give_back, refused};
use crate::opfs::{OpenFile, OpfsFiles, root};

/// Bytes after which what was written is put on the disk.
const FLUSHED: u64 = 32 << 20;

/// A file that is open for as long as this lives: nobody else, another tab neither, can open it to write.
pub struct OpfsPart {
    file: OpenFile,
    size: u64,
    /// Bytes written since they were put on the disk.
    loose: u64,
}

impl OpfsPart {
    /// The file of this name, made if needed, with what is there.
    ///
    /// # Errors
    /// Another tab has it open, or the browser stores nothing.
    pub async fn open(files: &OpfsFiles, name: &str) -> Result<Self, Problem> {
        let file = OpenFile::open(files, name).await?;
        Ok(Self { size: file.size()?, file, loose: 0 })
    }

    /// Bytes that are there.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads bytes from `at` on into `bytes`; gives how many, 0 at the end.
    ///
    /// # Errors
    /// The browser fails to read.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<usize, Problem> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(at as f64);
        let array = Uint8Array::new_with_length(bytes.len() as u32);
        let count = self.file.handle.read_with_js_u8_array_and_options(&array, &options);
        let count = (count.map_err(|e| self.file.fail(&e))? as usize).min(bytes.len());
        array.subarray(0, count as u32).copy_to(&mut bytes[..count]);
        give_back(&array.buffer());
        Ok(count)
    }

    /// Puts bytes at the end.
    ///
    /// # Errors
    /// The storage is full.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.file.write(self.size, bytes)?;
        self.size += bytes.len() as u64;
        self.loose += bytes.len() as u64;
        if self.loose >= FLUSHED { self.flush() } else { Ok(()) }
    }

    /// Drops all bytes.
    ///
    /// # Errors
    /// The browser fails to.
    pub fn clear(&mut self) -> Result<(), Problem> {
        self.size = 0;
        self.file.handle.truncate_with_u32(0).map_err(|e| self.file.fail(&e))
    }

    /// Puts what was written on the disk.
    ///
    /// # Errors
    /// The browser fails to.
    pub fn flush(&mut self) -> Result<(), Problem> {
        self.loose = 0;
        self.file.handle.flush().map_err(|e| self.file.fail(&e))
    }
}

impl OpfsFiles {
    /// The names of the directories that begin so, sorted.
    ///
    /// # Errors
    /// The browser stores nothing.
    pub async fn directories(beginning: &str) -> Result<Vec<String>, Problem> {
        let fail = |e: JsValue| refused("list", "browser storage", &e);
        let entries = root("browser storage").await?.keys();
        let mut names = Vec::new();
        loop {
            let step = JsFuture::from(entries.next().map_err(fail)?).await.map_err(fail)?;
            let step: IteratorNext = step.unchecked_into();
            if step.done() {
                names.sort();
                return Ok(names);
            }
            names.extend(step.value().as_string().filter(|name| name.starts_with(beginning)));
        }
    }

    /// Removes a directory and all that is in it; that there is none is no error.
    ///
    /// # Errors
    /// A file of it is open.
    pub async fn remove_directory(name: &str) -> Result<(), Problem> {
        let label = format!("browser storage/{name}");
        let root: FileSystemDirectoryHandle = root(&label).await?;
        let options = FileSystemRemoveOptions::new();
        options.set_recursive(true);
        match JsFuture::from(root.remove_entry_with_options(name, &options)).await {
            Err(e) if error_name(&e) != "NotFoundError" => Err(refused("remove", &label, &e)),
            _ => Ok(()),
        }
    }
}
