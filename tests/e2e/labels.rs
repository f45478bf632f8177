//! A classifier in the page: the folder of an encoder and rows of classes in, accuracy and what is confused with what while
//! it trains, a text labelled, an adapter with its classifier out.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stratune_tests::{films, skipped};

use crate::adapter;
use crate::browser::Browser;
use crate::page::Page;
use crate::pictures;
use crate::server::Site;

#[tokio::test]
async fn a_classifier_is_trained_and_asked_in_the_page() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        return skipped("STRATUNE_DIST is not set");
    };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    let model = browser.folder().join("tiny-words");
    for (name, bytes) in films::model_files() {
        let path = model.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let rows = browser.folder().join("films.csv");
    std::fs::write(&rows, films::rows(120)).unwrap();

    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    // A model that writes is told that there are labels, and learns them if one likes, and the text again.
    page.choose_file("data-file", &rows).await;
    page.until_so("#other", "labels are offered", |text| text.contains("label looks like labels of text: 2 classes"))
        .await;
    page.press("#other button").await;
    page.until("labels are read", 60, |seen| seen.can_train && seen.data.contains("films.csv, 120 rows")).await;
    page.until_so(".shares", "classes are counted", |text| text.contains("good") && text.contains("60")).await;
    page.press("#other button").await;
    page.until_so("#other", "labels are offered again", |text| text.contains("2 classes")).await;

    page.click("change-model").await;
    page.choose_file("model-files", &model).await;
    page.until("the encoder is read", 120, |seen| {
        seen.can_train && seen.model.contains("tiny-words, labels texts") && seen.data.contains("films.csv, 120 rows")
    })
    .await;
    page.click("change-data").await;
    let shown: Vec<String> = page.ask(FIELDS).await;
    assert!(shown.iter().any(|id| id == "label-column") && shown.iter().any(|id| id == "objective"), "{shown:?}");
    assert!(!shown.iter().any(|id| id == "prompt-column" || id == "system-prompt"), "{shown:?}");
    pictures::take(&page, "labels-data").await;
    page.fits(380, "the data with labels").await;

    let (accuracy, sum) = train(&page, 30, ("0.01", None)).await;
    // A tenth of 120 rows is held out, of which as many are measured as there is time for.
    assert!((1..=12).contains(&sum), "{sum} rows of the picture");
    assert!((0.0..=100.0).contains(&accuracy), "accuracy {accuracy} %");
    pictures::take(&page, "labels").await;
    page.fits(380, "a classifier").await;

    let said = label(&page, "the film was bright and warm").await;
    assert!(said.contains("good") && said.contains("bad") && said.contains('%'), "{said}");
    let forms: Vec<String> = page.ask(FORMS).await;
    assert_eq!(forms, ["Adapter", "Folder"]);
    take_adapter(&page, browser.folder()).await;
    let errors = browser.console_errors().await;
    assert!(errors.is_empty(), "the console has errors: {errors:#?}");
    browser.quit().await;
}

/// A vision transformer and a folder of images, the same way.
#[tokio::test]
async fn images_are_learned_and_labelled_in_the_page() {
    let Some(dist) = std::env::var_os("STRATUNE_DIST").map(PathBuf::from) else {
        return skipped("STRATUNE_DIST is not set");
    };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folders = ["tiny-vit", "pictures"].map(|name| browser.folder().join(name));
    let [model, pictures] = &folders;
    std::fs::create_dir_all(model).unwrap();
    for file in ["config.json", "preprocessor_config.json", "model.safetensors"] {
        std::fs::copy(fixtures.join("tiny-vit").join(file), model.join(file)).unwrap();
    }
    for (class, file) in [("drawn", "drawing.png"), ("photo", "photo.jpg")] {
        std::fs::create_dir_all(pictures.join(class)).unwrap();
        for copy in 0..10 {
            std::fs::copy(fixtures.join("images").join(file), pictures.join(class).join(format!("{copy}-{file}")))
                .unwrap();
        }
    }

    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    page.click("change-model").await;
    page.choose_file("model-files", model).await;
    page.until("the model is read", 120, |seen| seen.model.contains("tiny-vit, labels images")).await;
    page.click("change-data").await;
    page.until_so("#body-data", "images are asked for", |text| text.contains("The model reads images")).await;
    page.choose_file("image-folder", pictures).await;
    page.until("images are read", 60, |seen| seen.can_train && seen.data.contains("20 images")).await;
    page.until_so(".shares", "classes are counted", |text| text.contains("photo") && text.contains("10")).await;
    page.fits(380, "the data of images").await;

    let (accuracy, sum) = train(&page, 20, ("0.01", None)).await;
    assert!((1..=2).contains(&sum) && (0.0..=100.0).contains(&accuracy), "{accuracy} % of {sum}");
    page.choose_file("image", &fixtures.join("images/photo.jpg")).await;
    page.click("label-it").await;
    let said = page.until_so("#labels", "the image is labelled", |text| text.contains('%')).await;
    assert!(said.contains("photo") && said.contains("drawn"), "{said}");
    let errors = browser.console_errors().await;
    assert!(errors.is_empty(), "the console has errors: {errors:#?}");
    browser.quit().await;
}

/// All-MiniLM-L6-v2 on rows of SST-2, in the tab: it learns.
#[tokio::test]
async fn minilm_learns_sst2_in_the_page() {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(dist), Some(data)) = (named("STRATUNE_DIST"), named("STRATUNE_DATA")) else {
        return skipped("STRATUNE_DIST or STRATUNE_DATA is not set");
    };
    let (model, sst2) = (data.join("models/all-MiniLM-L6-v2"), data.join("glue/SST-2/train.tsv"));
    let Ok(text) = std::fs::read_to_string(&sst2) else { return skipped(format!("there is no {}", sst2.display())) };
    let site = Site::serve(&dist);
    let browser = Browser::start().await;
    let page = Page::new(browser.driver());
    let rows = browser.folder().join("sst2.tsv");
    // A header and 1,500 rows, of which guessing gets 56 in 100 right, and the command line 82 after as many steps.
    let file = text.lines().take(1501).flat_map(|line| [line, "\n"]);
    std::fs::write(&rows, file.collect::<String>()).unwrap();

    page.open(&format!("{}/?device=cpu", site.origin)).await;
    page.until("the page is ready", 300, |seen| seen.state == "ready").await;
    page.click("change-model").await;
    page.choose_file("model-files", &model).await;
    let is_read = |seen: &crate::page::Seen| seen.model.contains("all-MiniLM-L6-v2, labels texts");
    page.until("MiniLM is read", 300, is_read).await;
    page.until_so("#body-data", "the example has no labels", |text| text.contains("the example has none")).await;
    page.choose_file("data-file", &rows).await;
    page.until("the rows are read", 120, |seen| seen.can_train && seen.data.contains("sst2.tsv")).await;

    let (accuracy, sum) = train(&page, 80, ("0.002", Some("16"))).await;
    assert!((20..=150).contains(&sum), "{sum} rows of the picture");
    println!("MiniLM on SST-2 in the page: {accuracy} % of {sum} held-out rows");
    assert!(accuracy > 70.0, "{accuracy} % of the held-out rows are right");
    let said = label(&page, "a gorgeous , witty , seductive movie").await;
    assert!(said.starts_with('1'), "the likeliest label of praise: {said}");
    take_adapter(&page, browser.folder()).await;
    browser.quit().await;
}

/// Trains so many steps with a learning rate and perhaps a batch size; the loss falls. Gives the last accuracy in percent
/// and the rows of the picture.
async fn train(page: &Page, steps: usize, (rate, batch): (&str, Option<&str>)) -> (f64, u32) {
    page.click("change-run").await;
    page.write("steps", &steps.to_string()).await;
    page.write("learning-rate", rate).await;
    if let Some(batch) = batch {
        page.write("batch-size", batch).await;
    }
    page.open_advanced("body-run").await;
    page.write("eval-every", &(steps / 2).to_string()).await;
    page.until("Train can be pressed", 60, |seen| seen.can_train).await;
    page.click("train").await;
    let mut losses: Vec<(usize, f64)> = Vec::new();
    let end = page
        .until("the run is done", 1800, |seen| {
            if let (Some(loss), false) = (seen.loss, losses.last().is_some_and(|(step, _)| *step == seen.step)) {
                losses.push((seen.step, loss));
            }
            seen.state == "done"
        })
        .await;
    assert_eq!(end.step, steps);
    let mean = |part: &[(usize, f64)]| part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64;
    let some = losses.len().div_ceil(4);
    let (first, last) = (mean(&losses[..some]), mean(&losses[losses.len() - some..]));
    assert!(last < first, "the loss went from {first} to {last}: {losses:?}");
    let accuracy = page.text("accuracy").await;
    let f1: f64 = page.text("macro-f1").await.parse().expect("a macro F1");
    assert!((0.0..=1.0).contains(&f1));
    let cells: Vec<Vec<u32>> = page.ask(CELLS).await;
    assert!(cells.len() == 2 && cells.iter().all(|row| row.len() == 2), "{cells:?}");
    let sum: u32 = cells.iter().flatten().sum();
    let accuracy: f64 = accuracy.trim_end_matches(" %").parse().unwrap_or_else(|_| panic!("accuracy '{accuracy}'"));
    let right = 100.0 * f64::from(cells[0][0] + cells[1][1]) / f64::from(sum);
    assert!((right - accuracy).abs() < 0.06, "accuracy {accuracy} % beside {cells:?}");
    (accuracy, sum)
}

/// Has a text labelled; the labels as the page shows them.
async fn label(page: &Page, text: &str) -> String {
    page.write("text", text).await;
    page.click("label-it").await;
    page.until_so("#labels", "the text is labelled", |text| text.contains('%')).await
}

/// Takes the adapter away: it has its classifier in it, and PEFT is told so.
async fn take_adapter(page: &Page, folder: &Path) {
    page.click("download-adapter").await;
    let zip = adapter::downloaded(folder, "adapter.zip").await;
    adapter::check(&zip).await;
    let files = adapter::unzipped(&zip);
    let (_, config) = files.iter().find(|(name, _)| name == "adapter_config.json").expect("adapter_config.json");
    let config: Value = serde_json::from_slice(config).unwrap();
    assert_eq!(config["task_type"], "SEQ_CLS", "{config:#}");
    let saved = config["modules_to_save"].as_array().expect("modules_to_save");
    assert!(saved.iter().any(|name| name == "classifier"), "{saved:?}");
}

/// The ids of the fields of the card of the data.
const FIELDS: &str = r##"return [...document.querySelectorAll("#body-data .field [id]")].map(e => e.id);"##;

/// The forms in which a tuned model can be taken away.
const FORMS: &str = r##"return [...document.querySelectorAll("#export-form option")].map(e => e.value);"##;

/// The numbers of the picture of what is confused with what.
const CELLS: &str = r##"
    const cells = row => [...row.querySelectorAll("td")].map(cell => Number(cell.innerText.replace(",", "")));
    return [...document.querySelectorAll("#confusion tbody tr")].map(cells);
"##;
