//! Files in the browser's private storage (OPFS), written from a dedicated worker.

use std::io::{self, Seek, SeekFrom, Write};

use js_sys::{IteratorNext, Uint8Array};
use stratune_protocol::{Problem, ProblemKind};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemReadWriteOptions, FileSystemSyncAccessHandle, WorkerGlobalScope,
};

use crate::browser::{error_name, give_back, read_blob, refused};
use crate::folder::{Folder, check_name, missing};

/// Bytes copied at a time from another folder.
const CHUNK: u64 = 4 << 20;

/// Files of a run in the browser's private storage, so that a reload can go on with them.
pub struct OpfsFiles {
    label: String,
    dir: FileSystemDirectoryHandle,
}

impl OpfsFiles {
    /// Opens the directory called `name`, and makes it if needed. Works in a dedicated worker only.
    pub async fn open(name: &str) -> Result<Self, Problem> {
        check_name(name, "browser storage")?;
        let label = format!("browser storage/{name}");
        let fail = |e: JsValue| refused("open", &label, &e);
        let root = root(&label).await?;
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(true);
        let dir = JsFuture::from(root.get_directory_handle_with_options(name, &options)).await.map_err(fail)?;
        Ok(Self { dir: dir.unchecked_into(), label })
    }

    /// Where a file is, for a message.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.label)
    }

    /// Writes a file, over one of the same name.
    pub async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let file = OpenFile::create(self, name).await?;
        file.write(0, bytes)?;
        file.finish(bytes.len() as u64)
    }

    /// Adds bytes to the end of a file, which is made if needed.
    pub async fn append(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let file = OpenFile::open(self, name).await?;
        let size = file.size()?;
        file.write(size, bytes)?;
        file.finish(size + bytes.len() as u64)
    }

    /// Copies the file called `name` out of `folder`, in parts, so that it need not fit in memory.
    pub async fn put_from(&self, name: &str, folder: &dyn Folder) -> Result<(), Problem> {
        let size = folder.size(name).ok_or_else(|| missing(folder, name, "choose the files again"))?;
        let file = OpenFile::create(self, name).await?;
        let mut done = 0;
        while done < size {
            let end = size.min(done + CHUNK);
            file.write(done, &folder.read(name, Some(done..end)).await?)?;
            done = end;
        }
        file.finish(size)
    }

    /// A file to be written at any place, empty at first. It can be read when the writer is dropped.
    pub async fn writer(&self, name: &str) -> Result<OpfsWriter, Problem> {
        Ok(OpfsWriter { file: OpenFile::create(self, name).await?, at: 0 })
    }

    /// A file to be read in parts; `None` if there is none of that name.
    pub async fn file(&self, name: &str) -> Result<Option<File>, Problem> {
        check_name(name, &self.label)?;
        let fail = |e: JsValue| refused("read", &self.place(name), &e);
        let handle: FileSystemFileHandle = match JsFuture::from(self.dir.get_file_handle(name)).await {
            Ok(handle) => handle.unchecked_into(),
            Err(e) if error_name(&e) == "NotFoundError" => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        let file = JsFuture::from(handle.get_file()).await.map_err(fail)?;
        Ok(Some(file.unchecked_into()))
    }

    /// A file's bytes; `None` if there is none of that name.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        match self.file(name).await? {
            Some(file) => Ok(Some(read_blob(&file, 0..file.size() as u64, &self.place(name)).await?)),
            None => Ok(None),
        }
    }

    /// The names of all files, sorted.
    pub async fn names(&self) -> Result<Vec<String>, Problem> {
        let fail = |e: JsValue| refused("list", &self.label, &e);
        let keys = self.dir.keys();
        let mut names = Vec::new();
        loop {
            let step = JsFuture::from(keys.next().map_err(fail)?).await.map_err(fail)?;
            let step: IteratorNext = step.unchecked_into();
            if step.done() {
                names.sort();
                return Ok(names);
            }
            names.extend(step.value().as_string());
        }
    }

    /// Removes a file; that there is none is no error.
    pub async fn remove(&self, name: &str) -> Result<(), Problem> {
        check_name(name, &self.label)?;
        match JsFuture::from(self.dir.remove_entry(name)).await {
            Err(e) if error_name(&e) != "NotFoundError" => Err(refused("remove", &self.place(name), &e)),
            _ => Ok(()),
        }
    }
}

/// Writes a file in the browser's private storage. What goes wrong there is a [`Problem`] within the error.
pub struct OpfsWriter {
    file: OpenFile,
    at: u64,
}

impl Write for OpfsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(self.at, bytes).map_err(io::Error::other)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.handle.flush().map_err(|e| io::Error::other(self.file.fail(&e)))
    }
}

impl Seek for OpfsWriter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.file.size().map_err(io::Error::other)?, by),
        };
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The directory that all others are in.
pub(crate) async fn root(label: &str) -> Result<FileSystemDirectoryHandle, Problem> {
    let scope = js_sys::global().dyn_into::<WorkerGlobalScope>().map_err(|_| {
        Problem::new(ProblemKind::Internal, "browser storage was opened outside a worker").next("please report this")
    })?;
    let root = JsFuture::from(scope.navigator().storage().get_directory()).await;
    Ok(root.map_err(|e| refused("open", label, &e))?.unchecked_into())
}

/// A file open for writing. It is closed when dropped, because an open one locks out every other writer.
pub(crate) struct OpenFile {
    at: String,
    pub handle: FileSystemSyncAccessHandle,
}

impl OpenFile {
    /// Opens `name`, makes it if needed, and empties it.
    async fn create(files: &OpfsFiles, name: &str) -> Result<Self, Problem> {
        let open = Self::open(files, name).await?;
        open.handle.truncate_with_u32(0).map_err(|e| open.fail(&e))?;
        Ok(open)
    }

    /// Opens `name` as it is, and makes it if needed.
    pub async fn open(files: &OpfsFiles, name: &str) -> Result<Self, Problem> {
        check_name(name, &files.label)?;
        let at = files.place(name);
        let fail = |e: JsValue| refused("write", &at, &e);
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let file = JsFuture::from(files.dir.get_file_handle_with_options(name, &options)).await.map_err(fail)?;
        let file: FileSystemFileHandle = file.unchecked_into();
        let handle = JsFuture::from(file.create_sync_access_handle()).await.map_err(fail)?;
        Ok(Self { handle: handle.unchecked_into(), at })
    }

    pub fn size(&self) -> Result<u64, Problem> {
        self.handle.get_size().map(|size| size as u64).map_err(|e| self.fail(&e))
    }

    pub fn fail(&self, error: &JsValue) -> Problem {
        refused("write", &self.at, error)
    }

    pub fn write(&self, position: u64, bytes: &[u8]) -> Result<(), Problem> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(position as f64);
        // A copy on the JavaScript side: some browsers refuse views of a shared memory here.
        let array = Uint8Array::from(bytes);
        let written = self.handle.write_with_js_u8_array_and_options(&array, &options);
        give_back(&array.buffer());
        let written = written.map_err(|e| self.fail(&e))?;
        if written as usize == bytes.len() {
            return Ok(());
        }
        let what = format!("the browser stored {written} of {} bytes", bytes.len());
        Err(Problem::new(ProblemKind::Storage, what)
            .at(&self.at)
            .next("free space on this device or in the browser's site data, then try again"))
    }

    fn finish(self, size: u64) -> Result<(), Problem> {
        self.handle.flush().map_err(|e| self.fail(&e))?;
        let stored = self.size()?;
        if stored == size {
            return Ok(());
        }
        Err(Problem::new(ProblemKind::Storage, format!("the file has {stored} bytes instead of {size}"))
            .at(&self.at)
            .next("reload the page and try again"))
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.handle.close();
    }
}
