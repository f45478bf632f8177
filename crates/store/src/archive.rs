//! Several files as one zip, to be taken away from a page.

use std::io::{Cursor, Write};

use stratune_protocol::{Problem, ProblemKind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

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
    fn one_name_twice_is_an_error() {
        let files = vec![("a".to_string(), vec![]), ("a".to_string(), vec![])];
        assert!(zip(&files).is_err());
    }
}
