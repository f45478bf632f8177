//! Folders of images by class to a data set.

use stratune_protocol::{DataConfig, DataReport, FOLDER_MARK, LabelledColumns, PreviewRow, Problem, SkippedRow};

use super::{ImageProcessor, LabelledImage, image_folder};
use crate::dataset::{LISTED_SKIPPED, Split, held_out};
use crate::labelled::count_classes;
use crate::labels::Labels;
use crate::{Dataset, Label, Reads, Sequence, SourceFile, Wanted, summary};

/// What the label of an image is called in messages.
const LABEL: &str = "folder";

/// Rows whose names are shown before anything trains.
const PREVIEW_ROWS: usize = 5;

/// Reads images, whose classes are their [folders](image_folder), and makes them ready to train on, in eight bits a number.
/// Where some are to measure on, by their folders or as the files say, these are measured on, else a share of them. A patch has
/// `side` rows of pixels.
///
/// # Errors
/// A file is no image or damaged, which is named; there is one class alone, or a class is none of those that are wanted.
pub fn load_images(
    files: &[SourceFile],
    config: &DataConfig,
    (processor, side): (&ImageProcessor, usize),
    wanted: &Wanted,
    seed: u64,
) -> Result<Dataset, Problem> {
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let folder = image_folder(&names)?;
    let is_apart = |image: &LabelledImage| files[image.file].held_out;
    let (named, train): (Vec<LabelledImage>, Vec<LabelledImage>) = folder.train.iter().cloned().partition(is_apart);
    let apart: Vec<LabelledImage> = folder.validation.iter().cloned().chain(named).collect();
    let class = |image: &LabelledImage| folder.classes[image.class as usize].as_str();
    let images = || train.iter().chain(&apart);
    let written = images().map(|image| (names[image.file], class(image)));
    let labels = Labels::of(written, LABEL, config, wanted.objective, wanted.known)?;

    let row = |image: &LabelledImage| {
        let patches = image_patches(&files[image.file], processor, side)?;
        let label = labels.target(class(image)).map(|target| Label { at: Reads::First.at(1), target });
        Ok(Sequence { label, ..Sequence::of_image(patches) })
    };
    let mut rows = train.iter().map(row).collect::<Result<Vec<Sequence>, Problem>>()?;
    let mut validation = apart.iter().map(row).collect::<Result<Vec<Sequence>, Problem>>()?;
    let preview = images().take(PREVIEW_ROWS).map(|image| PreviewRow {
        tokens: Vec::new(),
        raw: names[image.file].to_string(),
        label: class(image).to_string(),
    });
    let places = rows.iter().chain(&validation).map(|row| row.tokens.len());
    let skipped = folder.left_out.iter().map(|at| SkippedRow {
        at: at.clone(),
        why: "it is no image by its ending, or to test on by its folder".into(),
        raw: String::new(),
    });
    let mut report = DataReport {
        files: vec![common_folder(&names)],
        format: "images".into(),
        skipped_rows: folder.left_out.len(),
        skipped: skipped.take(LISTED_SKIPPED).collect(),
        tokens: places.clone().sum::<usize>() as u64,
        label_tokens: (rows.len() + validation.len()) as u64,
        width: places.max().unwrap_or(0),
        preview: preview.collect(),
        ..DataReport::default()
    };
    report.lengths = summary::histogram(&rows);
    if apart.is_empty() {
        let is_held_out = held_out(rows.len(), Split { share: config.validation_split, seed });
        let (out, stay): (Vec<_>, Vec<_>) =
            rows.into_iter().zip(is_held_out).partition(|(_, is_held_out)| *is_held_out);
        let plain = |rows: Vec<(Sequence, bool)>| rows.into_iter().map(|(row, _)| row).collect();
        (rows, validation) = (plain(stay), plain(out));
    }
    (report.train_rows, report.validation_rows) = (rows.len(), validation.len());
    let mut dataset = Dataset {
        train: rows,
        validation,
        labels: Some(labels.kind),
        notices: labels.notices,
        report,
        ..Dataset::default()
    };
    count_classes(&mut dataset, LABEL)?;
    let classes = dataset.report.classes.len();
    dataset.report.labelled =
        Some(LabelledColumns { text: "image".into(), label: LABEL.into(), classes, ..LabelledColumns::default() });
    Ok(dataset)
}

/// The patches of an image.
///
/// # Errors
/// As [`ImageProcessor::read`], or it is not made of whole patches.
pub fn image_patches(file: &SourceFile, processor: &ImageProcessor, side: usize) -> Result<super::Patches, Problem> {
    processor.patches(&processor.read(&file.name, &file.bytes)?, side)
}

/// What parts the folders of a path.
const PARTS: [char; 3] = ['/', '\\', FOLDER_MARK];

/// What all of the paths are in; their number, where that is nothing.
fn common_folder(paths: &[&str]) -> String {
    let folders = |path: &str| path.rsplit_once(PARTS).map_or(String::new(), |(folders, _)| folders.to_string());
    let mut common = paths.first().map(|path| folders(path)).unwrap_or_default();
    for path in paths {
        while !(folders(path) == common || path.strip_prefix(&common).is_some_and(|rest| rest.starts_with(PARTS))) {
            common = folders(&common);
            if common.is_empty() {
                return format!("{} files", paths.len());
            }
        }
    }
    common
}

#[cfg(all(test, feature = "unpack"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::Objective;

    use super::*;
    use crate::{LabelKind, Target};

    fn file(name: &str, of: &str) -> SourceFile {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/images");
        SourceFile { name: name.into(), bytes: std::fs::read(format!("{folder}/{of}")).unwrap(), held_out: false }
    }

    fn load(files: &[SourceFile], config: &DataConfig, known: &[String]) -> Result<Dataset, Problem> {
        let processor = ImageProcessor { height: 16, width: 16, ..ImageProcessor::default() };
        let wanted = Wanted { objective: Objective::Auto, reads: Reads::First, type_ids: false, known };
        load_images(files, config, (&processor, 4), &wanted, 3)
    }

    #[test]
    fn a_folder_of_images_is_a_data_set() {
        let files: Vec<SourceFile> =
            (0..10).map(|i| file(&format!("pets/{}/{i}.png", ["cat", "dog"][i % 2]), "gray.png")).collect();
        let config = DataConfig { validation_split: 0.2, ..DataConfig::default() };
        let dataset = load(&files, &config, &[]).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation.len()), (8, 2));
        let report = &dataset.report;
        assert_eq!((report.files.as_slice(), report.format.as_str()), (["pets".to_string()].as_slice(), "images"));
        assert_eq!(report.classes, [("cat".to_string(), 5), ("dog".to_string(), 5)]);
        assert_eq!((report.width, report.tokens, report.label_tokens), (17, 170, 10));
        assert_eq!((report.preview[0].raw.as_str(), report.preview[0].label.as_str()), ("pets/cat/0.png", "cat"));
        let row = &dataset.train[0];
        assert_eq!((row.tokens.len(), row.label_count(), row.patches.as_ref().unwrap().count()), (17, 1, 16));
    }

    #[test]
    fn classes_are_those_of_the_model_where_they_are_the_same() {
        let files = [file("train/sea/a.png", "clear.png"), file("train/sky/b.png", "gray.png")];
        let val = file("val/sky/photo.jpg", "photo.jpg");
        let known = ["land", "sea", "sky"].map(String::from);
        let dataset = load(&[files.as_slice(), &[val]].concat(), &DataConfig::default(), &known).unwrap();
        assert_eq!(dataset.labels, Some(LabelKind::Classes(known.to_vec())));
        let class = |row: &Sequence| row.label.unwrap().target;
        assert_eq!(dataset.train.iter().map(class).collect::<Vec<_>>(), [Target::Class(1), Target::Class(2)]);
        assert_eq!(dataset.validation.iter().map(class).collect::<Vec<_>>(), [Target::Class(2)]);
        let other = DataConfig { label_names: ["a", "b"].map(String::from).to_vec(), ..DataConfig::default() };
        assert!(load(&files, &other, &known).unwrap_err().what.contains("none of the classes"));
    }

    #[test]
    fn a_damaged_image_is_named() {
        let mut files = [file("cat/a.png", "clear.png"), file("dog/b.jpg", "photo.jpg")];
        files[1].bytes.truncate(900);
        let problem = load(&files, &DataConfig::default(), &[]).unwrap_err();
        assert!(problem.what.contains("damaged") && problem.at == "dog/b.jpg", "{problem:?}");
    }

    #[test]
    fn a_folder_is_called_by_what_all_files_are_in() {
        for (paths, common) in [
            (["a/b/cat/1.png", "a/b/dog/2.png"], "a/b"),
            (["a/cat/1.png", "a/cat/2.png"], "a/cat"),
            (["pets\u{2215}cat\u{2215}1.png", "pets\u{2215}dog\u{2215}2.png"], "pets"),
            (["cat/1.png", "category/2.png"], "2 files"),
        ] {
            assert_eq!(common_folder(&paths), common);
        }
    }
}
