//! Folders of images by class: `cat/1.jpg`, or `train/cat/1.jpg` beside `val/cat/2.jpg`.

use std::collections::BTreeSet;

use stratune_protocol::{FOLDER_MARK, Problem};

const ENDINGS: [&str; 3] = [".jpg", ".jpeg", ".png"];
const TRAIN: [&str; 2] = ["train", "training"];
const VALIDATION: [&str; 4] = ["val", "valid", "validation", "dev"];
const TEST: [&str; 2] = ["test", "testing"];

/// Images, and what each is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFolder {
    /// The names of the classes, which are those of the folders, sorted.
    pub classes: Vec<String>,
    /// The images to train on, by path.
    pub train: Vec<LabelledImage>,
    /// The images to measure on, by path; empty where there is no folder of such.
    pub validation: Vec<LabelledImage>,
    /// Files that are no images by their ending, or are to test on. Hidden ones are not counted.
    pub left_out: Vec<String>,
}

/// An image and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImage {
    /// Where it is among the paths that were given.
    pub file: usize,
    /// Its class, by number.
    pub class: u32,
}

/// An image before classes have numbers.
struct Found<'a> {
    file: usize,
    path: &'a str,
    class: &'a str,
    split: &'a str,
    depth: usize,
}

/// Sorts the files of a folder into classes: an image is of the class that the folder is named for in which it is. If that
/// is in a folder `train`, those in `val` (or `validation`) beside it are to measure on, and those in `test` are left out.
///
/// # Errors
/// There is no image, one is in no folder, or in a deeper one than others; all are of one class, or some that are to measure
/// on are of one that is not trained.
pub fn image_folder(paths: &[impl AsRef<str>]) -> Result<ImageFolder, Problem> {
    let mut folder = ImageFolder::default();
    let mut found = Vec::new();
    for (file, path) in paths.iter().map(AsRef::as_ref).enumerate() {
        let parts: Vec<&str> = path.split(['/', '\\', FOLDER_MARK]).filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.iter().any(|part| part.starts_with('.') || *part == "__MACOSX") {
            continue;
        }
        if !is_image(path) {
            folder.left_out.push(path.to_owned());
            continue;
        }
        let [above @ .., class, _] = parts.as_slice() else {
            return Err(misplaced("the image is in no folder, whose name would be its class", path));
        };
        let split = above.last().copied().unwrap_or_default();
        found.push(Found { file, path, class, split, depth: parts.len() });
    }
    found.sort_by_key(|image| image.path);
    let Some(first) = found.first() else {
        return Err(Problem::input("none of the files is an image (.jpg, .jpeg or .png)").next(HOW));
    };
    if let Some(other) = found.iter().find(|image| image.depth != first.depth) {
        let what = format!(
            "the image is in more or fewer folders than {}, and which names its class is not clear",
            first.path
        );
        return Err(misplaced(&what, other.path));
    }

    let is_split = found.iter().any(|image| TRAIN.contains(&image.split));
    let (validation, rest): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|image| is_split && VALIDATION.contains(&image.split));
    let (test, train): (Vec<_>, Vec<_>) = rest.into_iter().partition(|image| is_split && TEST.contains(&image.split));
    folder.left_out.extend(test.iter().map(|image| image.path.to_owned()));

    let classes: BTreeSet<&str> = train.iter().map(|image| image.class).collect();
    let classes: Vec<&str> = classes.into_iter().collect();
    if let [only] = classes[..] {
        return Err(Problem::input(format!(
            "all images are of one class, {only:?}, and there is nothing to tell apart"
        ))
        .next(HOW));
    }
    let labelled = |image: &Found<'_>| {
        let class = classes.binary_search(&image.class).map_err(|_| {
            let what =
                format!("there is no image of the class {:?} to train on, and this one is to measure on", image.class);
            misplaced(&what, image.path)
        })?;
        Ok(LabelledImage { file: image.file, class: class as u32 })
    };
    folder.train = train.iter().map(labelled).collect::<Result<_, Problem>>()?;
    folder.validation = validation.iter().map(labelled).collect::<Result<_, Problem>>()?;
    folder.classes = classes.into_iter().map(str::to_owned).collect();
    Ok(folder)
}

const HOW: &str = "put the images of each class into a folder of its name, as cat/1.jpg and dog/2.png";

fn misplaced(what: &str, path: &str) -> Problem {
    Problem::input(what).at(path).next(HOW)
}

/// By its ending, whose capitals do not matter.
fn is_image(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn labelled(images: &[LabelledImage]) -> Vec<(usize, u32)> {
        images.iter().map(|image| (image.file, image.class)).collect()
    }

    #[test]
    fn a_folder_names_the_class_of_its_images() {
        let paths = ["pets/dog/b.JPG", "pets/cat/1.png", "pets/dog/a.jpeg", "pets/notes.txt", "pets/.DS_Store"];
        let folder = image_folder(&paths).unwrap();
        assert_eq!(folder.classes, ["cat", "dog"]);
        assert_eq!(labelled(&folder.train), [(1, 0), (2, 1), (0, 1)]);
        assert_eq!((folder.validation, folder.left_out), (Vec::new(), vec!["pets/notes.txt".to_owned()]));
    }

    #[test]
    fn folders_to_train_and_to_measure_on() {
        let paths = [
            "train/cat/1.jpg",
            "validation/dog/2.jpg",
            "train/dog/3.jpg",
            "test/cat/4.jpg",
            ".git/cat/5.jpg",
            "__MACOSX/train/cat/6.jpg",
        ];
        let folder = image_folder(&paths).unwrap();
        assert_eq!((labelled(&folder.train), labelled(&folder.validation)), (vec![(0, 0), (2, 1)], vec![(1, 1)]));
        assert_eq!(folder.left_out, ["test/cat/4.jpg"]);
        // Windows writes paths otherwise.
        let paths = ["D:\\train\\cat\\1.jpg", "D:\\train\\dog\\2.jpg", "D:\\val\\dog\\3.jpg"];
        assert_eq!(labelled(&image_folder(&paths).unwrap().validation), [(2, 1)]);
    }

    #[test]
    fn classes_may_be_called_as_splits_are() {
        let folder = image_folder(&["test/train/1.jpg", "test/car/2.jpg", "test/val/3.jpg"]).unwrap();
        assert_eq!(folder.classes, ["car", "train", "val"]);
        assert_eq!(labelled(&folder.train), [(1, 0), (0, 1), (2, 2)]);
    }

    #[test]
    fn what_is_misplaced_is_named() {
        let cases: [(&[&str], &str, &str); 6] = [
            (&[], "none of the files", ""),
            (&["a/readme.txt", "b/.hidden.png"], "none of the files", ""),
            (&["cat/1.jpg", "2.jpg"], "in no folder", "2.jpg"),
            (&["cat/1.jpg", "cat/kitten/2.jpg", "dog/3.jpg"], "more or fewer folders", "cat/kitten/2.jpg"),
            (&["cat/1.jpg", "cat/2.jpg"], "one class, \"cat\"", ""),
            (&["train/a/1.jpg", "train/b/2.jpg", "val/c/3.jpg"], "no image of the class \"c\"", "val/c/3.jpg"),
        ];
        for (paths, what, at) in cases {
            let problem = image_folder(paths).unwrap_err();
            assert!(problem.what.contains(what) && problem.at == at, "{paths:?}: {problem:?}");
        }
    }
}
