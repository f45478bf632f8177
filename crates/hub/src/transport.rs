//! One request to a server, however it is made: by a library natively, by `fetch` in a page.

use std::ops::Range;
use std::time::Duration;

use futures::future::LocalBoxFuture;

/// A GET request. Nothing else is asked of the hub: it is only read.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where.
    pub url: String,
    /// Headers by name.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes that are wanted, the last excluded; `None`: all.
    pub range: Option<Range<u64>>,
}

/// What a server answered, whatever the status.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers that can be seen; a page does not see all.
    pub headers: Headers,
    /// The address that answered: another than the request's where the transport follows redirects itself.
    pub url: String,
    /// The body, as it comes.
    pub body: Box<dyn Body>,
}

/// Headers of a response.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a header, whatever the case of its name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

/// The body of a response.
pub trait Body {
    /// The next bytes, never none of them; `None` at the end. A body that ends before its length is [`Broken`].
    fn chunk(&mut self) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, Broken>>;
}

/// There is no answer, or no more of it.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Why, as the network says it.
    pub why: String,
    /// Whether asking again is of no use: the host's name is not known, or its certificate is not good.
    pub lasting: bool,
}

/// Whoever makes requests.
pub trait Transport {
    /// Sends a request and gives the head of the answer. A redirect is not followed, or by a page's `fetch` with the headers
    /// that it drops on the way to another host.
    ///
    /// # Errors
    /// There is no answer, or none within the time that a server is given.
    fn send(&self, request: Request) -> LocalBoxFuture<'_, Result<Response, Broken>>;

    /// Waits.
    fn wait(&self, time: Duration) -> LocalBoxFuture<'_, ()>;
}
