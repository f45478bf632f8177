//! The server as OpenAI's clients use it, over sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{done, path, run, stratune};

/// A server on a port of its own; it ends with this.
struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    address: String,
    agent: ureq::Agent,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut command = stratune(&[&["serve", "--device", "cpu", "--port", "0", "--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let serving = told.filter_map(|event| Some(event["serving"].as_str()?.to_string())).next().unwrap();
        let address = serving.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/v1")).unwrap().to_string();
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        Self { child, address, agent: config.timeout_global(Some(Duration::from_secs(120))).build().into() }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut response = self.agent.get(format!("http://{}{path}", self.address)).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    fn post_text(&self, path: &str, kind: &str, body: &str) -> (u16, String) {
        let request = self.agent.post(format!("http://{}{path}", self.address)).header("content-type", kind);
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.post_text(path, "application/json; charset=utf-8", &body.to_string());
        (status, serde_json::from_str(&text).unwrap())
    }

    /// An answer, by a request with these settings beside.
    fn chat(&self, model: &str, messages: &Value, more: Value) -> Value {
        let (status, answer) = self.post("/v1/chat/completions", &asked(model, messages, more));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The same as a stream: its events.
    fn stream(&self, model: &str, messages: &Value, mut more: Value) -> Vec<Value> {
        more["stream"] = true.into();
        let body = asked(model, messages, more).to_string();
        let (status, text) = self.post_text("/v1/chat/completions", "application/json", &body);
        let events: Vec<&str> = text.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap()).collect();
        assert!(status == 200 && events.last() == Some(&"[DONE]"), "{text}");
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asked(model: &str, messages: &Value, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": messages, "temperature": 0, "max_tokens": 12});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// The text of a stream.
fn streamed(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

/// Adapters that have learned a little: two of which rows of one batch can have, and one that is before the text.
fn adapters(dir: &Path) -> [PathBuf; 3] {
    [("lora", "one"), ("ia3", "other"), ("prefix", "third")].map(|(method, name)| {
        let out = dir.join(name);
        let arguments = ["train", "--data", "example", "--device", "cpu", "--max-length", "48", "--batch-size", "2"];
        let own = ["--method", method, "--steps", "3", "--learning-rate", "0.05", "--validation-split", "0", "--out"];
        done(&[&arguments[..], &own, &[path(&out)]].concat());
        out
    })
}

const PROMPT: &str = "The widow stood by the fire.";

#[test]
fn models_answer_side_by_side_what_each_says_alone() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other, third] = adapters(dir.path());
    let given = [format!("first={}", path(&one)), path(&other).to_string(), path(&third).to_string()];
    let server = Server::start(&["--adapter", &given[0], &given[1], &given[2]]);
    let (_, models) = server.get("/v1/models");
    let names: Vec<&str> = models["data"].as_array().unwrap().iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(names, ["starter", "first", "other", "third"]);

    // Each alone, which is what the command line says.
    let alone: Vec<String> =
        names.iter().map(|name| text(&server.chat(name, &user(PROMPT), json!({}))).into()).collect();
    for (said, adapter) in alone.iter().zip([None, Some(&one), Some(&other), Some(&third)]) {
        let arguments = ["generate", "--as-instruction", "--prompt", PROMPT, "--max-tokens", "12", "--device", "cpu"];
        let adapter = adapter.map_or(Vec::new(), |folder| vec!["--adapter", path(folder)]);
        assert_eq!(said, done(&[&arguments[..], &adapter].concat()).trim());
    }
    let all: std::collections::BTreeSet<&String> = alone.iter().collect();
    assert!(all.len() > 2, "the adapters say something else than the base: {alone:?}");

    // All at once, as streams, some of them with longer prompts; twice, as what is kept of a prompt changes nothing.
    let longer = json!([{"role": "system", "content": "Tell it."}, {"role": "user", "content": "Tom came to the mill."},
        {"role": "assistant", "content": "He sat."}, {"role": "user", "content": PROMPT}]);
    let long_alone: Vec<String> =
        names.iter().map(|name| text(&server.chat(name, &longer, json!({}))).into()).collect();
    let server = &server;
    for _ in 0..2 {
        scope(|threads| {
            let ask = |name, messages, more| threads.spawn(move || streamed(&server.stream(name, &messages, more)));
            let (short, long) = (&user(PROMPT), &longer);
            let short: Vec<_> = names.iter().map(|name| ask(*name, short.clone(), json!({}))).collect();
            let long: Vec<_> = names.iter().map(|name| ask(*name, long.clone(), json!({}))).collect();
            let [short, long] = [short, long].map(|all| all.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>());
            assert_eq!((short, long), (alone.clone(), long_alone.clone()));
        });
    }
    let (_, health) = server.get("/health");
    assert_eq!((health["status"].as_str(), health["running"].as_u64()), (Some("ok"), Some(0)));
}

#[test]
fn an_answer_is_counted_ends_and_is_drawn_as_asked() {
    let server = Server::start(&[]);
    let whole = server.chat("starter", &user(PROMPT), json!({"max_completion_tokens": 10}));
    assert_eq!(
        (whole["object"].as_str(), whole["choices"][0]["finish_reason"].as_str()),
        (Some("chat.completion"), Some("length"))
    );
    let usage = |answer: &Value| {
        ["prompt_tokens", "completion_tokens", "total_tokens"].map(|n| answer["usage"][n].as_u64().unwrap())
    };
    let [prompt, completion, total] = usage(&whole);
    assert_eq!((completion, total), (10, prompt + 10));

    let events =
        server.stream("starter", &user(PROMPT), json!({"max_tokens": 10, "stream_options": {"include_usage": true}}));
    assert_eq!(streamed(&events), text(&whole));
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let [.., last, counted] = &events[..] else { panic!("{events:?}") };
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!((usage(counted), counted["choices"].as_array().map(Vec::len)), ([prompt, 10, prompt + 10], Some(0)));

    // Until a text appears, which is left out; streamed, nothing of it is shown.
    let said = text(&whole);
    let stop = said.char_indices().nth(said.chars().count() / 2).map(|(at, _)| &said[at..]).unwrap();
    let expected = &said[..said.find(stop).unwrap()];
    let cut = server.chat("starter", &user(PROMPT), json!({"stop": ["never said", stop]}));
    assert_eq!((text(&cut), cut["choices"][0]["finish_reason"].as_str()), (expected, Some("stop")));
    assert_eq!(streamed(&server.stream("starter", &user(PROMPT), json!({"stop": stop}))), expected);

    // A prompt as it stands, which needs no turns.
    let body = json!({"model": "starter", "prompt": "Once", "temperature": 0, "max_tokens": 6});
    let (_, completed) = server.post("/v1/completions", &body);
    let arguments = ["generate", "--prompt", "Once", "--max-tokens", "6", "--device", "cpu"];
    let said = done(&arguments);
    assert_eq!(completed["choices"][0]["text"].as_str().map(str::trim), Some(said.trim()));
    assert_eq!(completed["object"], "text_completion");

    let drawn =
        |seed| text(&server.chat("starter", &user(PROMPT), json!({"temperature": 1.5, "seed": seed}))).to_string();
    assert_eq!(drawn(3), drawn(3));
    assert_ne!(drawn(3), drawn(4));
}

#[test]
fn what_is_wrong_is_answered_in_openais_form() {
    let server = Server::start(&["--cors", "http://localhost:3000"]);
    let good = asked("starter", &user(PROMPT), json!({}));
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body.to_string()
    };
    let chat = "/v1/chat/completions";
    let long = user(&"The dog ran and sat. ".repeat(80));
    for (path, kind, body, status, says) in [
        (chat, "application/json", "{".to_string(), 400, "not JSON"),
        (chat, "application/json", "[]".into(), 400, "object"),
        (chat, "text/plain", good.to_string(), 415, "application/json"),
        (chat, "application/json", with("model", "gpt-4".into()), 404, "use one of: starter"),
        (chat, "application/json", with("n", 2.into()), 400, "n is not 1"),
        (chat, "application/json", with("logprobs", true.into()), 400, "logprobs"),
        (chat, "application/json", with("temperature", "hot".into()), 400, "temperature"),
        (chat, "application/json", with("messages", json!([{"role": "user"}])), 400, "'content' is missing"),
        (chat, "application/json", with("messages", json!([{"role": "king", "content": "a"}])), 400, "king"),
        (
            chat,
            "application/json",
            with("messages", json!([{"role": "user", "content": [{"type": "image_url"}]}])),
            400,
            "text",
        ),
        (chat, "application/json", with("messages", long), 400, "shorten"),
        (chat, "application/json", with("tools", json!([{"name": "f"}])), 400, "chat template"),
        (chat, "application/json", " ".repeat((16 << 20) + 1), 413, "MiB"),
        ("/v1/completions", "application/json", json!({"model": "starter", "prompt": ""}).to_string(), 400, "empty"),
        ("/v1/embeddings", "application/json", good.to_string(), 404, "no such path"),
        ("/v1/models", "application/json", good.to_string(), 405, "POST"),
    ] {
        let (got, text) = server.post_text(path, kind, &body);
        let error = serde_json::from_str::<Value>(&text).unwrap()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert!(got == status && message.contains(says), "{path} {says}: {got} {message}");
        assert!(error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some());
    }

    // Who asks by another name has been sent here by a page that wants to read what only this machine may.
    let raw = |request: String| {
        let mut socket = TcpStream::connect(&server.address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let get = |host: &str| raw(format!("GET /v1/models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    assert!(get("rebound.example:80").starts_with("HTTP/1.1 403"));
    let port = server.address.rsplit_once(':').unwrap().1;
    let allowed = get(&format!("localhost:{port}"));
    assert!(allowed.starts_with("HTTP/1.1 200"));
    assert!(allowed.contains("access-control-allow-origin: http://localhost:3000"), "{allowed}");
    let preflight = raw("OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".into());
    assert!(preflight.starts_with("HTTP/1.1 204") && preflight.contains("access-control-allow-headers"), "{preflight}");
    let closed = Server::start(&[]);
    assert!(
        !closed
            .agent
            .get(format!("http://{}/health", closed.address))
            .call()
            .unwrap()
            .headers()
            .contains_key("access-control-allow-origin")
    );
    // Whatever was wrong before, the next is answered.
    assert!(!text(&server.chat("starter", &user(PROMPT), json!({}))).is_empty());
}

/// Who hangs up is waited for no longer: the place in the batch is free before the answer would have ended.
#[test]
fn an_answer_that_nobody_reads_ends() {
    let server = Server::start(&["--parallel", "1"]);
    let state = || {
        let (_, health) = server.get("/health");
        (health["running"].as_u64().unwrap(), health["tokens"].as_u64().unwrap())
    };
    let more = |seed: u64| json!({"max_tokens": 240, "temperature": 3, "seed": seed});
    let length = |seed| server.chat("starter", &user(PROMPT), more(seed))["usage"]["completion_tokens"].as_u64();
    let long = (0..40).find(|seed| length(*seed) > Some(200)).unwrap();
    let before = state().1;
    let mut body = asked("starter", &user(PROMPT), more(long));
    body["stream"] = true.into();
    let body = body.to_string();
    let mut socket = TcpStream::connect(&server.address).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    write!(socket, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    assert!(socket.read(&mut [0; 256]).unwrap() > 0);
    drop(socket);
    let began = Instant::now();
    while state().0 > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "it goes on");
        sleep(Duration::from_millis(5));
    }
    let made = state().1 - before;
    assert!(made < 180, "{made} tokens were made for nobody");
    assert!(!text(&server.chat("starter", &user(PROMPT), json!({}))).is_empty());
}

#[test]
fn what_cannot_be_served_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, says) in [
        (vec!["--port", port.as_str()], "choose another port"),
        (vec!["--adapter", "a=nowhere"], "nowhere"),
        (vec!["--adapter", "=nowhere"], "NAME=FOLDER"),
        (vec!["--cors", "somewhere"], "an origin is such as"),
        (vec!["--parallel", "0"], "parallel"),
    ] {
        let output = run(&[&["serve", "--device", "cpu"], &arguments[..]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(says), "{arguments:?}: {error}");
    }
}
