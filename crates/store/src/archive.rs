//! Several files as one zip, to be taken away from a page and brought back.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Seek, Write};

use futures::future::LocalBoxFuture;
use stratune_protocol::{Problem, ProblemKind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::MemoryFolder;

/// Bytes that the files of a zip may have together: more than any adapter, less than a tab's memory.
const LARGEST: u64 = 1 << 30;

use crate::folder::check_name;
use crate::sink::Sink;

/// A zip of these files, not compressed (weights do not shrink). Equal files give equal bytes: no clock enters.
pub fn zip(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Problem> {
    pack(files).map_err(|e| {
        Problem::new(ProblemKind::Internal, format!("the zip cannot be written: {e}")).next("please report this")
    })
}

/// Where a zip is written: it goes back to the beginning of each of its files when that is whole.
pub trait WriteSeek: Write + Seek {}

impl<T: Write + Seek> WriteSeek for T {}

/// A zip that is written in parts, into storage. Dropped before it is [finished](Self::finish), it is no zip.
pub struct ZipSink {
    writer: ZipWriter<Box<dyn WriteSeek>>,
}

impl ZipSink {
    /// Into an empty file.
    pub fn new(file: Box<dyn WriteSeek>) -> Self {
        Self { writer: ZipWriter::new(file) }
    }

    /// Completes the zip, and gives its size.
    ///
    /// # Errors
    /// The storage does not take it.
    pub fn finish(self) -> Result<u64, Problem> {
        let mut file = self.writer.finish().map_err(|e| not_stored(e.into()))?;
        file.flush().and_then(|()| file.stream_position()).map_err(not_stored)
    }
}

impl Sink for ZipSink {
    fn begin<'a>(&'a mut self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            check_name(name, "the zip")?;
            // Nobody knows the size yet.
            let options = stored().large_file(true);
            self.writer.start_file(name, options).map_err(|e| not_stored(e.into()))
        })
    }

    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.writer.write_all(bytes).map_err(not_stored) })
    }
}

/// What the storage said, where it is it that failed.
fn not_stored(e: io::Error) -> Problem {
    let told = e.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()).cloned();
    told.unwrap_or_else(|| {
        Problem::new(ProblemKind::Storage, format!("the zip cannot be written: {e}")).next("free space and try again")
    })
}

/// Weights do not shrink, and no clock enters.
fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored).last_modified_time(DateTime::default())
}

fn pack(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = stored().large_file(bytes.len() >= u32::MAX as usize);
        writer.start_file(name.as_str(), options)?;
        writer.write_all(bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}

/// The files of a zip that is called `name`, by their names without the folders they are in. Of several of one name the first
/// is taken.
///
/// # Errors
/// It is damaged, compressed in a way that is not read, or larger than a gigabyte.
pub fn unzip(name: &str, bytes: &[u8]) -> Result<MemoryFolder, Problem> {
    let next = "pack it anew, deflated or not compressed; or choose the folder itself";
    let bad = |why: String| Problem::input(format!("the zip cannot be read: {why}")).at(name).next(next);
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| bad(e.to_string()))?;
    let mut files: Vec<(String, Cow<'static, [u8]>)> = Vec::new();
    let mut left = LARGEST;
    for entry in 0..archive.len() {
        let entry = archive.by_index(entry).map_err(|e| bad(e.to_string()))?;
        let path = entry.name().map_err(|e| bad(e.to_string()))?.into_owned();
        let file = path.rsplit(['/', '\\']).next().unwrap_or_default().to_string();
        if entry.is_dir() || file.is_empty() || files.iter().any(|(known, _)| *known == file) {
            continue;
        }
        let mut content = Vec::new();
        // What it says of its size need not be so.
        entry.take(left + 1).read_to_end(&mut content).map_err(|e| bad(e.to_string()))?;
        left =
            left.checked_sub(content.len() as u64).ok_or_else(|| bad(format!("it holds more than {LARGEST} bytes")))?;
        files.push((file, content.into()));
    }
    Ok(MemoryFolder::new(name, files))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn files_come_back() {
        let files = vec![("a.json".to_string(), b"{}".to_vec()), ("b.bin".to_string(), vec![0, 255, 7])];
        let bytes = zip(&files).unwrap();
        assert_eq!(bytes, zip(&files).unwrap());
        let mut archive = ::zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 2);
        for (name, want) in &files {
            let mut found = Vec::new();
            archive.by_name(name).unwrap().read_to_end(&mut found).unwrap();
            assert_eq!(&found, want);
        }
    }

    /// A file that others hold, too.
    #[derive(Clone, Default)]
    struct Shared(std::rc::Rc<std::cell::RefCell<Cursor<Vec<u8>>>>, u64);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 > 0 && self.0.borrow().position() + bytes.len() as u64 > self.1 {
                return Err(io::Error::other(
                    Problem::new(ProblemKind::Storage, "the storage is full").next("free some"),
                ));
            }
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Shared {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.0.borrow_mut().seek(to)
        }
    }

    fn filled(file: &Shared) -> Result<u64, Problem> {
        let mut sink = ZipSink::new(Box::new(file.clone()));
        pollster::block_on(async {
            sink.begin("model.gguf").await?;
            for part in [&[1_u8; 700][..], &[2; 500]] {
                sink.write(part).await?;
            }
            crate::sink::write_whole(&mut sink, "Modelfile", b"FROM ./model.gguf").await
        })?;
        sink.finish()
    }

    #[test]
    fn a_zip_is_written_in_parts() {
        let file = Shared::default();
        let size = filled(&file).unwrap();
        let bytes = file.0.borrow().get_ref().clone();
        assert_eq!(size, bytes.len() as u64);
        let mut archive = ::zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut model = Vec::new();
        archive.by_name("model.gguf").unwrap().read_to_end(&mut model).unwrap();
        assert_eq!(model, [vec![1; 700], vec![2; 500]].concat());
        assert_eq!(archive.by_name("Modelfile").unwrap().size(), 17);
        let problem = filled(&Shared(Default::default(), 900)).unwrap_err();
        assert_eq!((problem.what.as_str(), problem.next.as_str()), ("the storage is full", "free some"));
    }

    #[test]
    fn a_zip_is_a_folder_again_wherever_its_files_are() {
        use crate::Folder;

        let files = vec![("mine/a.json".to_string(), b"{}".to_vec()), ("mine/b.bin".to_string(), vec![0, 255, 7])];
        let bytes = zip(&files).unwrap();
        let folder = unzip("mine.zip", &bytes).unwrap();
        assert_eq!(folder.names(), ["a.json", "b.bin"]);
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let problem = unzip("mine.zip", &bytes[..cut]).err().unwrap();
            assert_eq!((problem.at.as_str(), problem.next.is_empty()), ("mine.zip", false), "{cut}");
        }
        let mut deflated = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        deflated.start_file("a.json", options).unwrap();
        deflated.write_all(&[b'a'; 5000]).unwrap();
        let deflated = deflated.finish().unwrap().into_inner();
        assert!(deflated.len() < 1000);
        assert_eq!(unzip("", &deflated).unwrap().size("a.json"), Some(5000));
    }

    #[test]
    fn one_name_twice_is_an_error() {
        let files = vec![("a".to_string(), vec![]), ("a".to_string(), vec![])];
        assert!(zip(&files).is_err());
    }
}
