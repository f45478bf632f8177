//! The HTTP side: routes, who may ask, and answers as they are written.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use futures::stream::unfold;
use serde_json::{Value, json};
use stratune_protocol::{Problem, ProblemKind};
use stratune_runtime::unix_millis;
use stratune_session::{ToolCall, ToolCallReader};
use tokio::sync::mpsc::UnboundedReceiver;

use super::engine::{Asker, Engine, Told};
use super::openai::{Head, Usage, error, error_json, models};
use super::request::{Asked, Form};

/// Bytes that a body may have.
const LARGEST: usize = 16 << 20;

/// A page's origin that may ask from a browser.
#[derive(Clone, Debug)]
pub struct Cors(HeaderValue);

impl std::str::FromStr for Cors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_origin = text == "*" || text.starts_with("http://") || text.starts_with("https://");
        let value = HeaderValue::from_str(text).ok().filter(|_| is_origin);
        value.map(Self).ok_or_else(|| "an origin is such as http://localhost:3000, or * for any".into())
    }
}

/// What all requests share.
struct Server {
    /// The base's name, then the adapters'.
    names: Vec<String>,
    asker: Asker,
    cors: Option<Cors>,
    started: u64,
    answers: AtomicU64,
}

/// Listens on the loopback interface, on any free port if `port` is 0. Gives the engine that is to answer, and the address.
///
/// # Errors
/// The port is taken.
pub fn listen(
    port: u16,
    names: Vec<String>,
    cors: Option<Cors>,
    parallel: usize,
) -> Result<(Engine, SocketAddr), Problem> {
    let failed = |e: std::io::Error| {
        Problem::new(ProblemKind::Network, format!("cannot listen on port {port}: {e}"))
            .at("--port")
            .next("choose another port, or 0 for any that is free")
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (engine, asker) = Engine::new(parallel);
    let server = Server { names, asker, cors, started: unix_millis() / 1000, answers: AtomicU64::new(0) };
    let serving = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        serve(listener, routes(Arc::new(server))).await
    };
    // It ends with the process; if it fails, the engine has nobody to answer, and ends too.
    std::thread::spawn(move || {
        if let Err(e) = runtime.block_on(serving) {
            eprintln!("the server has ended: {e}");
        }
    });
    Ok((engine, address))
}

fn routes(server: Arc<Server>) -> Router {
    let chat = |state, headers, body| completion(state, headers, body, Form::Chat);
    let plain = |state, headers, body| completion(state, headers, body, Form::Completion);
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(list))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(plain))
        .fallback(async || refused(StatusCode::NOT_FOUND, "there is no such path", "ask for /v1/models"))
        .method_not_allowed_fallback(async || {
            refused(StatusCode::METHOD_NOT_ALLOWED, "the path is not asked so", "use POST for completions, else GET")
        })
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn refused(status: StatusCode, what: &str, next: &str) -> Response {
    reply(status, &error_json(&Problem::input(what).next(next), "invalid_request_error", None))
}

/// Lets through who asks for this machine by its own name: a page elsewhere whose name was pointed here asks for its own. Says
/// which pages may read what comes back.
async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_loopback) {
        return refused(StatusCode::FORBIDDEN, "the host asked for is not this machine", "use localhost or 127.0.0.1");
    }
    let asks_first = request.method() == Method::OPTIONS && server.cors.is_some();
    let mut response = match asks_first {
        true => StatusCode::NO_CONTENT.into_response(),
        false => next.run(request).await,
    };
    if let Some(Cors(origin)) = &server.cors {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if asks_first {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
        }
    }
    response
}

/// Whether a `Host` header names this machine, with a port or without.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

async fn health(State(server): State<Arc<Server>>) -> Response {
    let load = &server.asker.load;
    let (running, tokens) = (load.running.load(Ordering::Relaxed), load.tokens.load(Ordering::Relaxed));
    reply(StatusCode::OK, &json!({"status": "ok", "running": running, "tokens": tokens}))
}

async fn list(State(server): State<Arc<Server>>) -> Response {
    reply(StatusCode::OK, &models(&server.names, server.started))
}

/// An answer of one of the models.
async fn completion(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
    form: Form,
) -> Response {
    // A page can have a browser send other types without asking first whether it may.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("application/json") {
        return refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not said to be JSON",
            "send it as application/json",
        );
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let what = format!("the body cannot be read: {}", rejection.body_text());
            return refused(rejection.status(), &what, &format!("send at most {} MiB", LARGEST >> 20));
        }
    };
    let id = server.answers.fetch_add(1, Ordering::Relaxed);
    let asked = match Asked::read(&body, form, unix_millis().wrapping_add(id)) {
        Ok(asked) => asked,
        Err(problem) => return failed(&problem),
    };
    let Some(which) = server.names.iter().position(|name| *name == asked.model) else {
        let what = format!("the model '{}' does not exist", asked.model);
        let problem = Problem::input(what).at("model").next(format!("use one of: {}", server.names.join(", ")));
        return reply(StatusCode::NOT_FOUND, &error_json(&problem, "invalid_request_error", Some("model_not_found")));
    };
    let calls = ToolCallReader::new(&asked.request.tools);
    let mut told = match server.asker.ask(which, asked.request) {
        Ok(told) => told,
        Err(problem) => return failed(&problem),
    };
    let prompt = match told.recv().await {
        Some(Told::Begun { prompt_tokens }) => prompt_tokens,
        Some(Told::Failed(problem)) => return failed(&problem),
        _ => return failed(&ended()),
    };
    let head = Head { form, id, created: unix_millis() / 1000, model: asked.model };
    let usage = Usage { prompt, completion: 0 };
    let answer = Answer { told, head, calls: Some(calls), usage, started: false, over: false };
    match asked.stream {
        false => answer.whole().await,
        true => answer.streamed(asked.with_usage),
    }
}

fn ended() -> Problem {
    Problem::new(ProblemKind::Device, "the engine has ended")
}

fn failed(problem: &Problem) -> Response {
    let (status, body) = error(problem);
    reply(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body)
}

/// An answer that is being written. Dropping it ends it.
struct Answer {
    told: UnboundedReceiver<Told>,
    head: Head,
    /// What tells calls of tools from text; none once it is over.
    calls: Option<ToolCallReader>,
    usage: Usage,
    /// Whether any text has come.
    started: bool,
    over: bool,
}

impl Answer {
    /// What of the next piece is text.
    fn told(&mut self, piece: String) -> String {
        let text = match &mut self.calls {
            Some(calls) => calls.text(piece),
            None => piece,
        };
        self.text(text)
    }

    /// What is left at the end: text, and calls of tools.
    fn rest(&mut self) -> (String, Vec<ToolCall>) {
        let (text, calls) = self.calls.take().map(ToolCallReader::end).unwrap_or_default();
        (self.text(text), calls)
    }

    /// A message's text without the space before it, which belongs to how it is written after the speaker's name.
    fn text(&mut self, text: String) -> String {
        let text = if self.started || self.head.form == Form::Completion { text } else { text.trim_start().into() };
        self.started |= !text.is_empty();
        text
    }

    async fn whole(mut self) -> Response {
        let mut said = String::new();
        loop {
            match self.told.recv().await {
                Some(Told::Text(text)) => said += &self.told(text),
                Some(Told::Done { finish, tokens }) => {
                    self.usage.completion = tokens;
                    let (rest, calls) = self.rest();
                    said += &rest;
                    return reply(StatusCode::OK, &self.head.whole(&said, &calls, finish, self.usage));
                }
                Some(Told::Begun { .. }) => {}
                Some(Told::Failed(problem)) => return failed(&problem),
                None => return failed(&ended()),
            }
        }
    }

    /// Server-sent events, one for each piece.
    fn streamed(self, with_usage: bool) -> Response {
        let first = self.head.piece(Some(""), true);
        let pieces = unfold((self, Some(event(&first))), move |(mut answer, first)| async move {
            if let Some(first) = first {
                return Some((Ok::<_, Infallible>(first), (answer, None)));
            }
            while !answer.over {
                let events = match answer.told.recv().await {
                    Some(Told::Text(text)) => {
                        let text = answer.told(text);
                        if text.is_empty() {
                            continue;
                        }
                        event(&answer.head.piece(Some(&text), false))
                    }
                    Some(Told::Begun { .. }) => continue,
                    Some(Told::Done { finish, tokens }) => {
                        answer.over = true;
                        answer.usage.completion = tokens;
                        let (rest, calls) = answer.rest();
                        let mut events = vec![answer.head.last(&calls, finish)];
                        if !rest.is_empty() {
                            events.insert(0, answer.head.piece(Some(&rest), false));
                        }
                        if with_usage {
                            events.push(answer.head.counted(answer.usage));
                        }
                        format!("{}data: [DONE]\n\n", events.iter().map(event).collect::<String>())
                    }
                    Some(Told::Failed(problem)) => {
                        answer.over = true;
                        event(&error(&problem).1)
                    }
                    None => {
                        answer.over = true;
                        event(&error(&ended()).1)
                    }
                };
                return Some((Ok(events), (answer, None)));
            }
            None
        });
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        (headers, Body::from_stream(pieces)).into_response()
    }
}

/// One server-sent event.
fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_let_through() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "127.0.0.1", "[::1]", "[::1]:80", "LocalHost:9"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "::1",
            "localhost:80@evil.example",
            "0.0.0.0:8080",
            "[::1]x",
            "localhost:8080:8080",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
