//! Base and tuned model in conversation, and adapters that are brought.

use std::rc::Rc;

use serde_json::json;
use stratune_protocol::{GenerateRequest, ModelVariant};
use stratune_runtime::block_on;
use stratune_store::{Folder, MemoryFolder};
use stratune_train::{Command, Event};

use crate::{Page, config, problem, train};

/// What a model says to messages, and in how many pieces.
fn said(page: &mut Page, variant: ModelVariant, turns: &[&str]) -> (String, usize) {
    let role = |at: usize| if at.is_multiple_of(2) { "user" } else { "assistant" };
    let messages = turns.iter().enumerate().map(|(at, text)| json!({"role": role(at), "content": text})).collect();
    page.events();
    page.send(Command::Generate(GenerateRequest { messages, variant, max_tokens: 12, ..Default::default() }));
    let events = page.events();
    assert_eq!(problem(&events), None);
    assert!(matches!(events.last(), Some(Event::Token { done: true, .. })), "{events:?}");
    let text = |event: &Event| if let Event::Token { text, .. } = event { Some(text.clone()) } else { None };
    (events.iter().filter_map(text).collect(), events.len())
}

fn load(page: &mut Page, name: &str, files: Vec<(String, Vec<u8>)>) -> Vec<Event> {
    let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    let folder: Rc<dyn Folder> = Rc::new(MemoryFolder::new(name, files));
    page.events();
    block_on(page.engine.handle(Command::LoadAdapter { name: name.into(), files: Vec::new() }, Some(folder)));
    page.events()
}

#[test]
fn both_models_hold_conversations_of_their_own() {
    let mut page = Page::ready();
    let mut run = config();
    run.train.learning_rate = 0.1;
    page.send(train(&run));
    let first = [ModelVariant::Base, ModelVariant::Tuned].map(|who| said(&mut page, who, &["Tom ran."]).0);
    assert_ne!(first[0], first[1]);
    let next = |page: &mut Page, who, first: &str| said(page, who, &["Tom ran.", first.trim(), "And then?"]).0;
    let second = [next(&mut page, ModelVariant::Base, &first[0]), next(&mut page, ModelVariant::Tuned, &first[1])];
    // What is held of a conversation is that model's: asked anew, another way round, they say the same.
    page.send(Command::LoadModel { config: Box::default(), files: Vec::new() });
    assert_eq!(next(&mut page, ModelVariant::Base, &first[0]), second[0]);
    assert_eq!(said(&mut page, ModelVariant::Base, &["Tom ran."]).0, first[0]);
}

#[test]
fn an_answer_ends_when_it_is_told_to() {
    let mut page = Page::ready();
    let (whole, pieces) = said(&mut page, ModelVariant::Base, &["Tom ran."]);
    assert!(pieces > 4, "{whole}");
    // Told before it is asked, a stop is of something else.
    page.send(Command::Stop);
    assert_eq!(said(&mut page, ModelVariant::Base, &["Tom ran."]).0, whole);
    page.heard.stops_at_a_token.set(Some(page.immediate.clone()));
    let (cut, _) = said(&mut page, ModelVariant::Base, &["Tom ran."]);
    assert!(!cut.is_empty() && cut.len() < whole.len() && whole.starts_with(&cut), "{cut:?} of {whole:?}");
    assert_eq!(said(&mut page, ModelVariant::Base, &["Tom ran."]).0, whole, "the next is not stopped");
}

#[test]
fn an_adapter_comes_back_as_a_folder_and_as_a_zip() {
    let mut page = Page::ready();
    let mut run = config();
    run.train.learning_rate = 0.1;
    page.send(train(&run));
    let tuned = said(&mut page, ModelVariant::Tuned, &["Tom ran."]).0;
    let zip = page.adapter().unwrap();
    page.send(Command::LoadModel { config: Box::default(), files: Vec::new() });
    let events = load(&mut page, "mine", vec![("adapter.zip".into(), zip.clone())]);
    let adapter =
        |event: &Event| if let Event::Tuned { run: Some(run) } = event { Some(run.adapter.clone()) } else { None };
    assert_eq!(events.iter().find_map(adapter).as_deref(), Some("mine"), "{events:?}");
    assert_eq!(said(&mut page, ModelVariant::Tuned, &["Tom ran."]).0, tuned);
    // What is taken away of it can be brought again.
    let kept = page.adapter();
    load(&mut page, "again", vec![("adapter.zip".into(), kept.clone().unwrap())]);
    assert_eq!(said(&mut page, ModelVariant::Tuned, &["Tom ran."]).0, tuned);

    // What cannot be put on this model is told, and the one that is there stays.
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/peft-lora");
    let files = ["adapter_config.json", "adapter_model.safetensors"]
        .map(|name| (name.to_string(), std::fs::read(format!("{fixture}/{name}")).unwrap()));
    let lone = vec![files[0].clone()];
    for (name, files) in
        [("peft-lora", files.to_vec()), ("half", lone), ("cut.zip", vec![("cut.zip".into(), zip[..99].to_vec())])]
    {
        let events = load(&mut page, name, files);
        let problem = problem(&events).unwrap_or_else(|| panic!("{name}: {events:?}"));
        assert!(!problem.next.is_empty(), "{name}: {problem:?}");
        assert!(page.adapter() == kept, "{name}: the adapter is another");
    }
}
