//! Calls of tools whose marks a tokenizer has among its special tokens, which texts leave out.

use serde_json::{Value, json};
use stratune_data::{Template, Tokenizer};
use stratune_models::CachedText;
use stratune_protocol::GenerateRequest;
use stratune_runtime::block_on;
use stratune_session::{FinishReason, Reply, ToolCallReader};
use stratune_tests::runs::small;

const MARK: &str = "[TOOL_CALLS]";

/// The fixture's tokenizer with a mark of its own.
fn tokenizer() -> Tokenizer {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tokenizer/tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let token = json!({"id": 320, "content": MARK, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    json["added_tokens"].as_array_mut().unwrap().push(token);
    let config = json!({"eos_token": "<|endoftext|>"}).to_string();
    Tokenizer::from_json(&serde_json::to_vec(&json).unwrap(), Some(config.as_bytes()), "tokenizer.json").unwrap()
}

#[test]
fn a_mark_that_is_a_special_token_is_told_where_tools_may_be_called() {
    let device = block_on(stratune_session::open_device(stratune_protocol::DeviceChoice::Cpu)).unwrap().device;
    let (model, tokenizer) = (small(1, &device), tokenizer());
    let template = Template::of(&tokenizer).unwrap();
    let call = r#" [{"name": "f", "arguments": {"x": 1}}]"#;
    let mut answer = tokenizer.encode("I see.").unwrap();
    answer.push(tokenizer.special(MARK).unwrap());
    answer.extend(tokenizer.encode(call).unwrap());
    for (tools, wanted) in
        [(json!([{"name": "f"}]), format!("I see.{MARK}{call}")), (json!([]), format!("I see.{call}"))]
    {
        let tools = tools.as_array().unwrap().clone();
        let request =
            GenerateRequest { tools: tools.clone(), max_tokens: answer.len(), temperature: 0.0, ..Default::default() };
        let mut reply =
            Reply::begin(&model, (&tokenizer, &template), &request, vec![1], CachedText::default()).unwrap();
        let (mut said, mut finish) = (String::new(), None);
        for token in &answer {
            let mut logits = vec![0.0; tokenizer.vocabulary()];
            logits[*token as usize] = 1.0;
            let (new, over) = reply.take(&logits).unwrap();
            said.push_str(&new);
            finish = over;
        }
        assert_eq!((said.as_str(), finish), (wanted.as_str(), Some(FinishReason::Length)));
        let mut reader = ToolCallReader::new(&tools);
        let text = reader.text(said);
        let (rest, calls) = reader.end();
        assert_eq!(calls.len(), tools.len(), "{text:?} {rest:?}");
        assert!(tools.is_empty() || text + &rest == "I see.");
    }
}
