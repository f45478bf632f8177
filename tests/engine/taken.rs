//! What is taken away from a page: every form is whole, and what it holds computes what was tuned.

use std::io::Read;

use stratune_protocol::ExportForm;

use super::*;

/// The files of the zip that was taken away last.
fn taken(page: &mut Page, form: ExportForm) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    page.events();
    page.send(Command::Export { form });
    let told = page.heard.all.take();
    let events: Vec<Event> = told.iter().map(|(event, _)| event.clone()).collect();
    if let Some(problem) = problem(&events) {
        return Err(problem.clone());
    }
    let beside = told.into_iter().find_map(|(_, bytes)| bytes);
    let Some(Event::File { bytes, stored, .. }) = events.last() else { panic!("no file: {events:?}") };
    assert_eq!(stored.is_none(), form == ExportForm::Adapter);
    let zipped = beside.unwrap_or_else(|| {
        let file = page.storage.outgoing.borrow();
        std::fs::read(file.as_ref().expect("a file").path()).unwrap()
    });
    assert_eq!(zipped.len() as u64, *bytes);
    Ok(unzipped(zipped))
}

/// The files of a zip.
pub(super) fn unzipped(zip: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let mut files = Vec::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        files.push((file.name().unwrap().into_owned(), bytes));
    }
    files
}

/// What a model says.
fn said(page: &mut Page, variant: ModelVariant) -> String {
    page.events();
    let prompt = "The widow stood by the fire at dawn.".to_string();
    page.send(Command::Generate(GenerateRequest { prompt, variant, max_tokens: 12, ..Default::default() }));
    let events = page.events();
    assert_eq!(problem(&events), None);
    events.iter().filter_map(|e| if let Event::Token { text, .. } = e { Some(text.as_str()) } else { None }).collect()
}

#[test]
fn what_was_tuned_is_taken_away_in_every_form() {
    let mut page = Page::ready();
    assert!(taken(&mut page, ExportForm::Folder).unwrap_err().what.contains("no tuned model"));
    let mut config = config();
    (config.train.steps, config.train.learning_rate) = (6, 1e-2);
    page.send(train(&config));
    let tuned = said(&mut page, ModelVariant::Tuned);
    assert_ne!(tuned, said(&mut page, ModelVariant::Base));
    for form in ExportForm::ALL {
        let files = taken(&mut page, form).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let text = |name: &str| {
            let file = files.iter().find(|(there, _)| there == name);
            String::from_utf8(file.unwrap_or_else(|| panic!("{form:?}: {names:?}")).1.clone()).unwrap()
        };
        let model = match form {
            ExportForm::Adapter => {
                assert!(names.contains(&"adapter_config.json") && names.contains(&"adapter_model.safetensors"));
                continue;
            }
            ExportForm::GgufAdapter => {
                assert!(names.contains(&"adapter.gguf"), "{names:?}");
                assert!(text("Modelfile").contains("ADAPTER ./adapter.gguf"));
                continue;
            }
            ExportForm::Folder => "model.safetensors",
            ExportForm::GgufF16 | ExportForm::GgufQ8 | ExportForm::GgufQ4 => "model.gguf",
        };
        assert!(names.contains(&model), "{form:?}: {names:?}");
        let card = text("README.md");
        assert!(card.contains("LoRA") && card.contains("| Steps | 6 of 6 |") && card.contains("fingerprint"), "{card}");
        assert!(text("Modelfile").starts_with("FROM ."), "{form:?}");
        // It is opened as a person would open it, and says what the tuned model says.
        let mut other = Page::new();
        other.send(Command::Start { device: DeviceChoice::Cpu });
        let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let folder = Rc::new(MemoryFolder::new("taken", files));
        let named = Box::new(RunConfig { model: "taken".into(), ..RunConfig::default() });
        block_on(other.engine.handle(Command::LoadModel { config: named, files: Vec::new() }, Some(folder)));
        assert_eq!(problem(&other.events()), None, "{form:?}");
        let says = said(&mut other, ModelVariant::Base);
        match form {
            ExportForm::Folder | ExportForm::GgufF16 => assert_eq!(says, tuned, "{form:?}"),
            _ => assert!(!says.is_empty(), "{form:?}"),
        }
    }
    // Storage that takes nothing is told, and PEFT's adapter needs none.
    page.storage.takes_no_copy.set(true);
    assert_eq!(taken(&mut page, ExportForm::GgufQ8).unwrap_err().kind, ProblemKind::Storage);
    assert!(taken(&mut page, ExportForm::Adapter).is_ok());
}
