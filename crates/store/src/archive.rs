//! Several files as one zip, to be taken away from a page and brought back.

use std::borrow::Cow;
use std::io::{Cursor, Read, Write};

use stratune_protocol::{Problem, ProblemKind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::MemoryFolder;

/// Bytes that the files of a zip may have together: more than any adapter, less than a tab's memory.
const LARGEST: u64 = 1 << 30;

/// A zip of these files, not compressed (weights do not shrink). Equal files give equal bytes: no clock enters.
pub fn zip(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Problem> {
    pack(files).map_err(|e| {
        Problem::new(ProblemKind::Internal, format!("the zip cannot be written: {e}")).next("please report this")
    })
}

fn pack(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(bytes.len() >= u32::MAX as usize);
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
