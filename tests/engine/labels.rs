//! Labels of texts as the page has them: offered, learned, watched, asked, taken away.

use stratune_protocol::{LabelMetrics, LabelledColumns, Objective};
use stratune_tests::films;

use super::*;

/// Loads these files as a page sends them; what is told of it.
fn load(page: &mut Page, command: Command, files: Vec<(String, Vec<u8>)>) -> Vec<Event> {
    let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    block_on(page.engine.handle(command, Some(Rc::new(MemoryFolder::new("chosen", files)))));
    page.events()
}

fn load_rows(page: &mut Page, config: &RunConfig) -> Vec<Event> {
    let command = Command::LoadData { config: Box::new(config.clone()), files: Vec::new() };
    load(page, command, vec![("films.csv".into(), films::rows(120).into())])
}

/// What a model says of a text.
fn labels(page: &mut Page, text: &str) -> Vec<(String, f32)> {
    page.events();
    page.send(Command::Classify { text: text.into(), text_pair: String::new(), files: Vec::new() });
    match page.events().pop() {
        Some(Event::Classified { labels, number: false }) => labels,
        other => panic!("no labels but {other:?}"),
    }
}

/// Trains on the rows; the last accuracy, and whether what is there then labels texts.
fn trained(page: &mut Page, config: &RunConfig) -> (f64, bool) {
    page.send(train(config));
    let events = page.events();
    assert_eq!(problem(&events), None);
    let mut measured = events.iter().filter_map(|event| match event {
        Event::Validation { labels: Some(LabelMetrics::Classes(of)), .. } => Some(of),
        _ => None,
    });
    let last = measured.next_back().expect("a validation");
    assert_eq!((last.labels.clone(), last.count()), (vec!["bad".to_string(), "good".into()], 12));
    let of = |event: &Event| if let Event::Tuned { run: Some(run) } = event { Some(run.labels) } else { None };
    (last.accuracy(), events.iter().find_map(of).expect("a tuned model"))
}

/// A run of thirty steps.
fn run() -> RunConfig {
    let mut config = config();
    (config.data.validation_split, config.data.max_length) = (0.1, 32);
    (config.train.steps, config.train.batch_size, config.train.learning_rate) = (30, 8, 1e-2);
    config.train.checkpoint_every = 0;
    config
}

#[test]
fn rows_that_look_like_labels_are_offered_to_a_model_that_writes() {
    let mut page = Page::ready();
    page.events();
    let mut config = run();
    let events = load_rows(&mut page, &config);
    // Its texts alone could be learned, too.
    let Some(Event::Data(report)) = events.first() else { panic!("{events:?}") };
    let (text, label) = ("text".to_string(), "label".to_string());
    let columns = LabelledColumns { text, label, classes: 2, ..LabelledColumns::default() };
    assert_eq!((report.labelled.as_ref(), report.classes.len()), (Some(&columns), 0));
    config.train.objective = Objective::Classification;
    let events = load_rows(&mut page, &config);
    let Some(Event::Data(report)) = events.first() else { panic!("{events:?}") };
    assert_eq!(report.labelled.as_ref(), Some(&columns));
    assert_eq!(report.classes, [("bad".to_string(), 60), ("good".into(), 60)]);
    // Where nothing else can be learned, it is said before the problem.
    let rows = films::rows(120).replacen("text", "opinion", 1);
    let command = Command::LoadData { config: Box::new(run()), files: Vec::new() };
    let events = load(&mut page, command, vec![("films.csv".into(), rows.into())]);
    assert!(matches!(&events[..], [Event::Labelled(of), Event::Problem(_)] if of.text == "opinion"), "{events:?}");
    // Conversations have no labels.
    page.send(Command::LoadData { config: Box::new(run()), files: Vec::new() });
    let events = page.events();
    assert!(matches!(events.first(), Some(Event::Data(of)) if of.labelled.is_none()), "{events:?}");
}

#[test]
fn an_encoder_learns_labels_and_is_asked_for_them() {
    let mut page = Page::ready();
    page.events();
    let config = RunConfig { model: "tiny-words".into(), ..run() };
    let files = films::model_files().into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect();
    let events = load(&mut page, Command::LoadModel { config: Box::new(config.clone()), files: Vec::new() }, files);
    let model = events.iter().find_map(|event| if let Event::Model(model) = event { Some(model) } else { None });
    assert!(model.is_some_and(|model| model.encoder), "{events:?}");
    assert_eq!(problem(&load_rows(&mut page, &config)), None);
    let (accuracy, labels_texts) = trained(&mut page, &config);
    println!("accuracy {accuracy}");
    assert!(labels_texts && accuracy > 0.9, "accuracy {accuracy}");
    for (text, right) in [("the film was bright and very sweet", "good"), ("a story so cruel and cold", "bad")] {
        let said = labels(&mut page, text);
        assert!(said.len() == 2 && said[0].0 == right && said[0].1 > 0.5, "{text}: {said:?}");
    }
    let zip = page.adapter().unwrap();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let config: serde_json::Value = serde_json::from_reader(archive.by_name("adapter_config.json").unwrap()).unwrap();
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&json!("SEQ_CLS"), &json!(["classifier"])));
    // The folder is a classifier of the two classes, and says the same.
    let tuned = labels(&mut page, "the film was dull");
    page.send(Command::Export { form: ExportForm::Folder });
    assert_eq!(problem(&page.events()), None);
    let taken = std::fs::read(page.storage.outgoing.borrow().as_ref().expect("a file").path()).unwrap();
    let files = taken::unzipped(taken);
    let named = RunConfig { model: "taken".into(), ..RunConfig::default() };
    let mut other = Page::new();
    other.send(Command::Start { device: DeviceChoice::Cpu });
    let events = load(&mut other, Command::LoadModel { config: Box::new(named), files: Vec::new() }, files);
    assert_eq!(problem(&events), None);
    let again = labels(&mut other, "the film was dull");
    assert!(again.iter().zip(&tuned).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-3), "{again:?} {tuned:?}");
}
