//! A folder of files, wherever it is: on disk, in memory, or dropped on a page.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

/// A folder of files, wherever it is. Names are those of files directly in it.
pub trait Folder {
    /// What to call it in a message.
    fn label(&self) -> String;
    /// The names of its files, sorted.
    fn names(&self) -> Vec<String>;
    /// The size of a file in bytes; `None` if it is not there.
    fn size(&self, name: &str) -> Option<u64>;
    /// A file's bytes, or those in `range`. A name that leads out of the folder is refused.
    fn read<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>>;
}

/// Refuses every name that is not that of a file directly in a folder.
pub(crate) fn check_name(name: &str, label: &str) -> Result<(), Problem> {
    let rooted = name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':');
    if rooted || name.split(['/', '\\']).any(|part| part == "..") {
        return Err(Problem::input(format!("the file name '{name}' climbs out of the folder"))
            .at(label)
            .next("use a folder whose files name only files inside it"));
    }
    if name.is_empty() || name == "." || name.contains(['/', '\\', '\0']) {
        return Err(Problem::input(format!("'{name}' is not the name of a file directly in the folder"))
            .at(label)
            .next("put all files of the model or adapter in one folder"));
    }
    Ok(())
}

/// Where a file is, for a message.
pub(crate) fn place(folder: &dyn Folder, name: &str) -> String {
    format!("{}/{name}", folder.label())
}

/// The files that are there, for the message about one that is not.
pub(crate) fn listing(folder: &dyn Folder) -> String {
    const SHOWN: usize = 12;
    let names = folder.names();
    match names.len() {
        0 => "the folder is empty".into(),
        n if n > SHOWN => format!("there are {} and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => format!("there are {}", names.join(", ")),
    }
}

/// The problem of a file that should be there.
pub(crate) fn missing(folder: &dyn Folder, name: &str, next: &str) -> Problem {
    Problem::input(format!("{name} is missing; {}", listing(folder))).at(folder.label()).next(next)
}

/// Checks `range` (or takes all) against a file of `size` bytes.
pub(crate) fn checked_range(range: Option<Range<u64>>, size: u64, at: &str) -> Result<Range<u64>, Problem> {
    let range = range.unwrap_or(0..size);
    if range.start <= range.end && range.end <= size {
        return Ok(range);
    }
    Err(Problem::input(format!("bytes {} to {} were asked for, and the file has {size}", range.start, range.end))
        .at(at)
        .next("the file changed or is cut short; open the folder again"))
}

/// Files in memory, such as the starter model.
pub struct MemoryFolder {
    label: String,
    files: BTreeMap<String, Cow<'static, [u8]>>,
}

impl MemoryFolder {
    /// A folder called `label` of these files.
    pub fn new(label: impl Into<String>, files: Vec<(String, Cow<'static, [u8]>)>) -> Self {
        Self { label: label.into(), files: files.into_iter().collect() }
    }

    /// A file's bytes.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(|bytes| &bytes[..])
    }
}

impl Folder for MemoryFolder {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    fn size(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|f| f.len() as u64)
    }

    fn read<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>> {
        Box::pin(async move {
            check_name(name, &self.label)?;
            let file = self.files.get(name).ok_or_else(|| missing(self, name, "check the name"))?;
            let range = checked_range(range, file.len() as u64, &place(self, name))?;
            Ok(file[range.start as usize..range.end as usize].to_vec())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pollster::block_on;

    use super::*;

    fn sample() -> MemoryFolder {
        MemoryFolder::new("toy", vec![("a.txt".into(), Cow::Borrowed(b"hello".as_slice()))])
    }

    #[test]
    fn reads_all_or_a_part() {
        let folder = sample();
        assert_eq!(folder.names(), ["a.txt"]);
        assert_eq!(folder.size("a.txt"), Some(5));
        assert_eq!(block_on(folder.read("a.txt", None)).unwrap(), b"hello");
        assert_eq!(block_on(folder.read("a.txt", Some(1..3))).unwrap(), b"el");
        assert_eq!(block_on(folder.read("a.txt", Some(5..5))).unwrap(), b"");
    }

    #[test]
    fn bad_names_and_ranges_are_refused() {
        #[allow(clippy::reversed_empty_ranges)]
        let cases = [
            ("../a.txt", None, "climbs out"),
            ("x/../a.txt", None, "climbs out"),
            ("x\\..\\a.txt", None, "climbs out"),
            ("/a.txt", None, "climbs out"),
            ("\\a.txt", None, "climbs out"),
            ("c:a.txt", None, "climbs out"),
            ("x/a.txt", None, "directly in the folder"),
            ("", None, "directly in the folder"),
            ("b.txt", None, "b.txt is missing; there are a.txt"),
            ("a.txt", Some(3..6), "the file has 5"),
            ("a.txt", Some(3..2), "the file has 5"),
        ];
        for (name, range, want) in cases {
            let problem = block_on(sample().read(name, range)).unwrap_err();
            assert!(problem.what.contains(want), "{name}: {problem:?}");
            assert!(problem.at.contains("toy") && !problem.next.is_empty(), "{problem:?}");
        }
    }
}
