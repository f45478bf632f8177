//! Which files of a folder are a GGUF model: one, or the parts of one that was split.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

use crate::folder::{Folder, missing, place};

const END: &str = ".gguf";

/// A part of a split file: what comes before its number, its number from 1, and how many there are.
fn part(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = name.strip_suffix(END)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let number_of = |digits: &str| digits.parse().ok().filter(|_| digits.len() == 5 && !digits.starts_with('+'));
    Some((stem, number_of(number)?, number_of(count)?))
}

/// The files of the model that `name` is of: itself, or all parts of the split file, in their order.
fn siblings(folder: &dyn Folder, name: &str) -> Result<Vec<String>, Problem> {
    let Some((stem, _, count)) = part(name) else { return Ok(vec![name.into()]) };
    let names: Vec<String> = (1..=count).map(|i| format!("{stem}-{i:05}-of-{count:05}{END}")).collect();
    match names.iter().find(|name| folder.size(name).is_none()) {
        None => Ok(names),
        Some(part) => Err(missing(folder, part, "put all parts of the split file in one folder")),
    }
}

/// The files of the GGUF model in a folder, the parts of a split one in their order; none where there is no such file.
///
/// # Errors
/// There are several models, or a part is missing.
pub fn gguf_files(folder: &dyn Folder) -> Result<Option<Vec<String>>, Problem> {
    let names: Vec<String> = folder.names().into_iter().filter(|name| name.ends_with(END)).collect();
    let mut models: BTreeMap<(String, usize), &str> = BTreeMap::new();
    for name in &names {
        let model = part(name).map_or((name.clone(), 0), |(stem, _, count)| (stem.to_string(), count));
        models.insert(model, name);
    }
    match (models.len(), models.first_key_value()) {
        (1, Some((_, name))) => siblings(folder, name).map(Some),
        (0, _) | (_, None) => Ok(None),
        (several, _) => Err(Problem::input(format!("there are {several} GGUF models: {}", names.join(", ")))
            .at(folder.label())
            .next("name or choose the file of one of them")),
    }
}

/// One GGUF model of a folder that may have other files: nothing else is seen.
pub struct GgufFolder {
    folder: Rc<dyn Folder>,
    names: Vec<String>,
}

impl GgufFolder {
    /// The file of this name, with the other parts if it was split.
    ///
    /// # Errors
    /// It, or a part, is not there.
    pub fn new(folder: Rc<dyn Folder>, name: &str) -> Result<Self, Problem> {
        if folder.size(name).is_none() {
            return Err(missing(&*folder, name, "check the path"));
        }
        let names = siblings(&*folder, name)?;
        Ok(Self { folder, names })
    }
}

impl Folder for GgufFolder {
    fn label(&self) -> String {
        self.folder.label()
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn size(&self, name: &str) -> Option<u64> {
        self.names.iter().any(|known| known == name).then(|| self.folder.size(name)).flatten()
    }

    fn read<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> LocalBoxFuture<'a, Result<Vec<u8>, Problem>> {
        match self.size(name) {
            Some(_) => self.folder.read(name, range),
            None => Box::pin(async move {
                Err(Problem::input(format!("{name} is not of this model")).at(place(self, name)).next("check the name"))
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;

    use pollster::block_on;

    use super::*;
    use crate::folder::MemoryFolder;

    fn folder(names: &[&str]) -> Rc<dyn Folder> {
        let file = |name: &&str| (name.to_string(), Cow::Borrowed(name.as_bytes()).into_owned().into());
        Rc::new(MemoryFolder::new("toy", names.iter().map(file).collect()))
    }

    #[test]
    fn a_model_is_one_file_or_all_its_parts() {
        let (one, two) = ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf");
        let find = |names: &[&str]| gguf_files(&*folder(names));
        assert_eq!(find(&["config.json"]).unwrap(), None);
        assert_eq!(find(&["readme.md", "a.gguf"]).unwrap().unwrap(), ["a.gguf"]);
        assert_eq!(find(&[two, one]).unwrap().unwrap(), [one, two]);
        // No numbers of parts: a name like any other.
        assert_eq!(find(&["a-1-of-2.gguf"]).unwrap().unwrap(), ["a-1-of-2.gguf"]);
        for (names, why) in [
            (&[two][..], "a-00001-of-00002.gguf is missing"),
            (&["a.gguf", "b.gguf"], "2 GGUF models: a.gguf, b.gguf"),
            (&[one, two, "a.gguf"], "2 GGUF models"),
        ] {
            let problem = find(names).unwrap_err();
            assert!(problem.what.contains(why) && !problem.next.is_empty(), "{problem:?}");
        }
    }

    #[test]
    fn one_model_of_a_folder_is_all_that_is_seen() {
        let all = folder(&["a.gguf", "b.gguf", "config.json"]);
        let one = GgufFolder::new(all.clone(), "b.gguf").unwrap();
        assert_eq!((one.names(), one.size("b.gguf"), one.size("a.gguf")), (vec!["b.gguf".into()], Some(6), None));
        assert_eq!(block_on(one.read("b.gguf", Some(0..1))).unwrap(), b"b");
        assert!(block_on(one.read("config.json", None)).is_err());
        assert!(GgufFolder::new(all, "c.gguf").is_err());
    }
}
