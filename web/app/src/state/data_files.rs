//! What dropped data is called: an engine's folder has files and no folders in it.

use std::collections::BTreeSet;

use stratune_protocol::{FOLDER_MARK, Problem};

/// Endings of files that rows can be in, and of such files compressed.
const ENDINGS: [&str; 9] = ["jsonl", "ndjson", "json", "csv", "tsv", "tab", "parquet", "txt", "md"];
const COMPRESSED: [&str; 2] = [".gz", ".zst"];
const IMAGES: [&str; 3] = ["png", "jpg", "jpeg"];

/// A name for each of the picked files, from their paths; none for what is no data: hidden files, and what a folder holds
/// besides. Two of one name are told apart by their folders; images in several folders are all that counts, and keep those.
///
/// # Errors
/// There is no data among them.
pub fn names<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> Result<Vec<Option<String>>, Problem> {
    let images = paths.clone().filter(|path| is_image(path));
    let classes: BTreeSet<&str> = images.filter_map(|path| path.rsplit_once('/')).map(|(folder, _)| folder).collect();
    if classes.len() > 1 {
        let marked = |path: &str| path.trim_start_matches('/').replace('/', &FOLDER_MARK.to_string());
        return Ok(paths.map(|path| is_image(path).then(|| marked(path))).collect());
    }
    let mut names: Vec<Option<String>> = Vec::new();
    for path in paths {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let Some(file) = parts.last().filter(|file| !file.starts_with('.') && (parts.len() == 1 || has_rows(file)))
        else {
            names.push(None);
            continue;
        };
        // From its file alone to its whole path, and then by number.
        let by_path = (1..=parts.len()).map(|n| parts[parts.len() - n..].join("_"));
        let mut calls = by_path.chain((2..).map(|n| format!("{n}_{file}")));
        names.push(calls.find(|call| !names.iter().flatten().any(|taken| taken == call)));
    }
    if names.iter().all(Option::is_none) {
        return Err(Problem::input("there is no data in the folder").next(
            "choose a folder with JSONL, JSON, CSV, TSV, Parquet or text files directly in it, or the files themselves; \
             for a vision model a folder with one of PNG or JPEG images for each class",
        ));
    }
    Ok(names)
}

/// Whether a file is an image by its ending, and not hidden.
fn is_image(path: &str) -> bool {
    let hidden = path.split('/').any(|part| part.starts_with('.') || part == "__MACOSX");
    let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_lowercase()).unwrap_or_default();
    !hidden && IMAGES.contains(&ending.as_str())
}

fn has_rows(file: &str) -> bool {
    let file = file.to_lowercase();
    let plain = COMPRESSED.into_iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(&file);
    plain.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_folder_is_its_data_files() {
        let of = |paths: &[&str]| names(paths.iter().copied()).unwrap();
        let some = |name: &str| Some(name.to_string());
        assert_eq!(of(&["rows.jsonl"]), [some("rows.jsonl")]);
        assert_eq!(of(&["data/rows.jsonl", "data/more.CSV"]), [some("rows.jsonl"), some("more.CSV")]);
        assert_eq!(
            of(&["data/.DS_Store", "data/a.png", "data/b.tsv", "data/LICENSE"]),
            [None, None, some("b.tsv"), None]
        );
        assert_eq!(
            of(&["d/a.parquet", "d/b.JSONL.gz", "d/c.csv.zst", "d/model.gz", "d/e.zst"]),
            [some("a.parquet"), some("b.JSONL.gz"), some("c.csv.zst"), None, None]
        );
        // What a person chose by itself is read whatever its ending: the engine says what is wrong with it.
        assert_eq!(of(&["rows.dat"]), [some("rows.dat")]);
        assert_eq!(of(&["a/x.csv", "b/x.csv", "x.csv"]), [some("x.csv"), some("b_x.csv"), some("2_x.csv")]);
        assert!(of(&["a/x.csv", "b/x.csv"]).iter().flatten().all(|name| !name.contains('/')));
    }

    #[test]
    fn folders_of_images_keep_their_paths() {
        let paths = ["pets/cat/1.JPG", "pets/dog/1.png", "pets/readme.md", "pets/dog/.hidden.png", "pets/rows.csv"];
        let names = names(paths.into_iter()).unwrap();
        assert_eq!(names, [Some("pets∕cat∕1.JPG".to_string()), Some("pets∕dog∕1.png".into()), None, None, None]);
    }

    #[test]
    fn a_folder_without_data_is_refused() {
        for paths in [&["pictures/a.png", "pictures/.hidden.csv"][..], &[]] {
            let problem = names(paths.iter().copied()).unwrap_err();
            assert!(problem.next.contains("JSONL"), "{paths:?}");
        }
    }
}
