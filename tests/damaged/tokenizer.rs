//! `tokenizer.json` of every kind, and `tokenizer_config.json` with its chat template.

use serde_json::Value;
use stratune_data::{Role, Row, Template, Tokenizer, Turn};
use stratune_protocol::Problem;
use stratune_runtime::block_on;
use stratune_tests::fixtures::folder;

use crate::damage::survives;

const TEXTS: [&str; 5] =
    ["The ferry leaves at seven.", "", " \n\t<s></s> <pad>", "naïve 東京 🦀!\u{0}", "unaffable ab  ab"];

fn file(name: &str) -> Vec<u8> {
    block_on(folder("tokenizer").read(name, None)).unwrap()
}

/// Reads the files, and does with them all that is done with texts.
fn read(json: &[u8], config: Option<&[u8]>) -> Result<(), Problem> {
    let tokenizer = Tokenizer::from_json(json, config, "folder/tokenizer.json")?;
    let tokenizer = tokenizer.with_ends(&[2, 70_000]).for_model(100_000)?;
    let template = Template::of(&tokenizer)?;
    let turns = |role, text: &str| Turn::new(role, text);
    for text in TEXTS {
        let ids = tokenizer.encode(text)?;
        tokenizer.decode(&ids)?;
        let mut stream = tokenizer.stream();
        for &id in ids.iter().chain(&[0, 5, 300]) {
            tokenizer.token_text(id);
            stream.push(id)?;
        }
        stream.finish()?;
        template.prompt(&tokenizer, text)?;
        template.encode(&tokenizer, &Row::Text(text.into()))?;
        let talk =
            [turns(Role::System, "s"), turns(Role::User, text), turns(Role::Assistant, text), turns(Role::User, "c")];
        let talk = talk.into_iter().chain([turns(Role::Assistant, "d")]).collect();
        template.encode(&tokenizer, &Row::Turns(talk))?;
    }
    // What decoders are not used to: no token, the same one again, all that there are.
    for ids in [vec![], vec![0; 3], (0..400).collect(), vec![u32::MAX]] {
        tokenizer.decode(&ids)?;
    }
    Ok(())
}

const TEMPLATE: &str = "{%- if messages[0]['role'] == 'system' %}{{ messages[0].content | trim }}{% endif %}\
    {% for m in messages %}<|im_start|>{{ m['role'] + '\\n' + m['content'][0:40] | tojson }}{{ eos_token }}\
    {% if loop.last and not loop.first %}{{ '\\n' * 3 }}{% endif %}{% endfor %}\
    {% set ns = namespace(n=0) %}{% for k in range(4) %}{% set ns.n = ns.n + k %}{% endfor %}\
    {% if add_generation_prompt %}assistant {{ ns.n }}{{ strftime_now('%Y') }}{% endif %}";

#[test]
fn tokenizer_config_json() {
    let json = file("tokenizer.json");
    let mut config: Value = serde_json::from_slice(&file("tokenizer_config.json")).unwrap();
    config["chat_template"] = TEMPLATE.into();
    survives("tokenizer_config.json", config.to_string().as_bytes(), 600, |bytes| read(&json, Some(bytes)));
    survives("a chat template", TEMPLATE.as_bytes(), 600, |template| {
        let mut config = config.clone();
        config["chat_template"] = String::from_utf8_lossy(template).into();
        read(&json, Some(config.to_string().as_bytes()))
    });
}
