//! Requests from a program, by ureq with Rust's own TLS.

use std::io::Read;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use ureq::http::Uri;
use ureq::{Agent, Error};

use crate::transport::{Body, Broken, Request, Response, Transport};

/// Longest that a connection may take, and a server to answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest without a byte: then the connection is given up, and the file goes on over another.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// Requests over HTTP and HTTPS. `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are heeded.
pub struct HttpTransport {
    agent: Agent,
    silence: Duration,
}

impl HttpTransport {
    /// With the usual limits of time.
    pub fn new() -> Self {
        Self::patient_for(SILENCE)
    }

    /// One that gives up a connection without a byte for so long.
    pub(crate) fn patient_for(silence: Duration) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("stratune/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(ANSWER))
            .timeout_connect(Some(ANSWER))
            .timeout_recv_response(Some(silence.min(ANSWER)))
            .timeout_per_read(Some(silence));
        Self { agent: config.build().new_agent(), silence }
    }

    fn send_now(&self, request: &Request) -> Result<Response, Broken> {
        let broken = |e: Error| self.broken(&e);
        let uri: Uri = request.url.parse().map_err(|_| Broken { why: "the address is none".into(), lasting: true })?;
        // As the files are: a body that was compressed on the way has another length than the file.
        let mut asking = self.agent.get(uri).header("Accept-Encoding", "identity");
        for (name, value) in &request.headers {
            asking = asking.header(*name, value);
        }
        if let Some(range) = &request.range {
            asking = asking.header("Range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        let response = asking.call().map_err(broken)?;
        let (head, body) = response.into_parts();
        // A value that is no text says nothing that is asked for.
        let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            Some((name.as_str().to_string(), value.to_str().ok()?.to_string()))
        };
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers.iter().filter_map(header).collect(),
            url: request.url.clone(),
            body: Box::new(Reader { body: Box::new(body.into_reader()) }),
        })
    }

    /// What went wrong, in words.
    fn broken(&self, error: &Error) -> Broken {
        let (why, lasting) = match error {
            Error::HostNotFound => ("the host's name is not known".to_string(), true),
            Error::Timeout(_) => (format!("no answer within {} s", self.silence.min(ANSWER).as_secs()), false),
            Error::Rustls(e) => (format!("the connection is not safe: {e}"), true),
            Error::Tls(e) => (format!("the connection is not safe: {e}"), true),
            Error::InvalidProxyUrl => ("the proxy that is set has no good address".to_string(), true),
            // TLS reports a bad certificate as an error of reading.
            Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                (format!("the connection is not safe: {e}"), true)
            }
            other => (other.to_string(), false),
        };
        Broken { why, lasting }
    }
}

impl Default for HttpTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> LocalBoxFuture<'_, Result<Response, Broken>> {
        Box::pin(async move { self.send_now(&request) })
    }

    fn wait(&self, time: Duration) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move { std::thread::sleep(time) })
    }
}

struct Reader {
    body: Box<dyn Read>,
}

impl Body for Reader {
    fn chunk(&mut self) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, Broken>> {
        let mut bytes = vec![0; CHUNK];
        let read = self.body.read(&mut bytes).map(|count| {
            bytes.truncate(count);
            (count > 0).then_some(bytes)
        });
        let read = read.map_err(|e| Broken { why: format!("the connection broke: {e}"), lasting: false });
        Box::pin(async move { read })
    }
}
