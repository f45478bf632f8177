//! Requests to the hub: whose token goes where, which redirects are followed, and how often a request is tried again.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::time::Duration;

use stratune_protocol::{Problem, ProblemKind};
use url::Url;

use crate::problems::{About, Failed};
use crate::repository::Repository;
use crate::transport::{Headers, Request, Response, Transport};

/// Redirects that are followed.
const HOPS: usize = 10;
/// Times that a request is made without a byte of an answer.
const TRIES: u32 = 5;
/// Bytes that an answer of the API may have.
const LARGEST_ANSWER: usize = 32 << 20;
/// How often a wait looks whether it is to end.
const LOOK: Duration = Duration::from_millis(500);

/// What a download is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes come.
    Fetching,
    /// What has come is compared with its hash.
    Checking,
    /// For so many seconds nothing is asked, and why.
    Waiting(u64, String),
}

/// How far a download has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file; empty while the model is looked up.
    pub file: String,
    /// What is being done.
    pub stage: Stage,
    /// Bytes that are there, of all files.
    pub done: u64,
    /// Bytes of all files; 0 while they are not known.
    pub total: u64,
}

/// Is told how far it has come, and says whether it goes on.
pub type Watch<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// What someone who has stopped a download is told.
pub(crate) fn stopped() -> Problem {
    Problem::new(ProblemKind::Stopped, "the download was stopped").next("start it again: it goes on where it was")
}

/// A token of the hub. Its text is in no message.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as people paste it; `None` if it is blank.
    ///
    /// # Errors
    /// It has characters that no token has.
    pub fn new(text: &str) -> Result<Option<Self>, Problem> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Problem::input("the token has characters that no token of the hub has")
                .next("copy it again from huggingface.co/settings/tokens"));
        }
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A hub: huggingface.co, or a mirror of it.
pub struct Hub {
    transport: Rc<dyn Transport>,
    base: Url,
    token: Option<Token>,
}

impl Hub {
    /// The hub at `base`, such as `https://huggingface.co`. A token is sent to that server alone, and in the clear only on the
    /// machine itself.
    ///
    /// # Errors
    /// `base` is no address of a server.
    pub fn new(transport: Rc<dyn Transport>, base: &str, token: Option<Token>) -> Result<Self, Problem> {
        let bad = |why: String| {
            Problem::input(format!("'{base}' is not the address of a hub{why}"))
                .at("HF_ENDPOINT")
                .next("use an address such as https://huggingface.co")
        };
        let mut url = Url::parse(base).map_err(|e| bad(format!(": {e}")))?;
        if !["http", "https"].contains(&url.scheme()) || url.host().is_none() || has_user(&url) {
            return Err(bad(String::new()));
        }
        url.set_query(None);
        url.set_fragment(None);
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let token = token.filter(|_| url.scheme() == "https" || local);
        Ok(Self { transport, base: url, token })
    }

    /// The hub's host.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Whether requests to the hub carry a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn transport(&self) -> &dyn Transport {
        self.transport.as_ref()
    }

    /// An address of the hub: the segments behind its own path, each percent-encoded.
    pub(crate) fn address<'s>(&self, segments: impl IntoIterator<Item = &'s str>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// What is asked of a repository, for messages.
    pub(crate) fn about<'a>(&self, repository: &'a Repository, revision: &'a str, file: &'a str) -> About<'a> {
        let page = self.address(repository.page()).to_string();
        About { page, repository: &repository.id, revision, file, token: self.token.is_some() }
    }

    /// Asks once and follows redirects; gives the first answer that is none, if it is a success.
    pub(crate) async fn get(&self, url: Url, range: Option<Range<u64>>, about: &About<'_>) -> Result<Response, Failed> {
        let mut url = url;
        for _ in 0..=HOPS {
            let ours = url.origin() == self.base.origin();
            let headers = match &self.token {
                Some(Token(token)) if ours => vec![("Authorization", format!("Bearer {token}"))],
                Some(_) | None => Vec::new(),
            };
            let host = url.host_str().unwrap_or_default().to_string();
            let request = Request { url: url.to_string(), headers, range: range.clone() };
            let response = self.transport.send(request).await.map_err(|broken| about.broken(&host, broken))?;
            // The server that answered, where the transport has followed redirects by itself.
            let ours = Url::parse(&response.url).map_or(ours, |url| url.origin() == self.base.origin());
            match response.status {
                200 | 206 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => url = self.redirected(&url, &response.headers, about)?,
                416 => return Ok(response),
                // The address was signed for a time that is over: the hub signs another.
                403 if !ours => return Err(Failed::Passing(about.network(format!("{host} answers 403")), None)),
                status if ours => return Err(about.refused(status, &response.headers)),
                status => return Err(about.trouble(&host, status, &response.headers)),
            }
        }
        Err(Failed::Lasting(about.network(format!("the hub sends from one address to the next, {HOPS} times"))))
    }

    /// Where a redirect leads, if that is a place to go to: over HTTPS anywhere, in the clear only to the hub's own host.
    fn redirected(&self, from: &Url, headers: &Headers, about: &About<'_>) -> Result<Url, Failed> {
        let bad = |what: String| Failed::Lasting(about.network(what));
        let location = headers.get("location").ok_or_else(|| bad("the hub sends on without saying where".into()))?;
        let to = from.join(location).map_err(|e| bad(format!("the hub sends on to no address: {e}")))?;
        let plain = to.scheme() == "http" && self.base.scheme() == "http" && to.host() == self.base.host();
        if !(to.scheme() == "https" || plain) || to.host().is_none() || has_user(&to) {
            let place = format!("{}://{}", to.scheme(), to.host_str().unwrap_or_default());
            return Err(bad(format!("the hub sends on to {place}, which is not taken")));
        }
        Ok(to)
    }

    /// Asks until there is an answer; gives its body whole, and its headers.
    pub(crate) async fn answer(
        &self,
        url: Url,
        about: &About<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(Vec<u8>, Headers), Problem> {
        let mut tries = Tries::default();
        loop {
            let failed = match self.whole(url.clone(), about).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let mut waits = |stage| watch(&Progress { file: about.file.into(), stage, done: 0, total: 0 });
            tries.again(self.transport(), failed, &mut waits).await?;
        }
    }

    async fn whole(&self, url: Url, about: &About<'_>) -> Result<(Vec<u8>, Headers), Failed> {
        let mut response = self.get(url, None, about).await?;
        let mut bytes = Vec::new();
        let broken = |broken| about.broken(self.host(), broken);
        while let Some(chunk) = response.body.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Failed::Lasting(about.network(format!("the answer has more than {LARGEST_ANSWER} bytes"))));
            }
            bytes.extend(chunk);
        }
        Ok((bytes, response.headers))
    }

    /// The address of the next page of an answer, which has to be the hub's too.
    pub(crate) fn next_page(&self, headers: &Headers, about: &About<'_>) -> Result<Option<Url>, Problem> {
        let next = headers.get("link").and_then(|links| {
            let link = links.split(',').find(|link| link.contains("rel=\"next\""))?;
            Some(link.split_once('<')?.1.split_once('>')?.0)
        });
        let Some(next) = next else { return Ok(None) };
        let url = self.base.join(next).ok().filter(|url| url.origin() == self.base.origin() && !has_user(url));
        url.map(Some).ok_or_else(|| about.network("the next page of the list is at another server".into()))
    }
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// How often something was tried since a byte came.
#[derive(Default)]
pub(crate) struct Tries {
    made: u32,
}

impl Tries {
    /// Bytes have come: what follows is not the same trouble.
    pub fn reset(&mut self) {
        self.made = 0;
    }

    /// Waits before another try: as long as the server says, else longer each time.
    ///
    /// # Errors
    /// Trying again is of no use, was done often enough, or is not wanted any more.
    pub async fn again(
        &mut self,
        transport: &dyn Transport,
        failed: Failed,
        watch: &mut dyn FnMut(Stage) -> ControlFlow<()>,
    ) -> Result<(), Problem> {
        let (problem, asked) = match failed {
            Failed::Lasting(problem) => return Err(problem),
            Failed::Passing(problem, asked) => (problem, asked),
        };
        self.made += 1;
        if self.made >= TRIES {
            return Err(problem);
        }
        let mut left = asked.unwrap_or(Duration::from_secs(1 << (self.made - 1)));
        loop {
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            if watch(Stage::Waiting(seconds, problem.what.clone())).is_break() {
                return Err(stopped());
            }
            if left.is_zero() {
                return Ok(());
            }
            let step = left.min(LOOK);
            transport.wait(step).await;
            left -= step;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::testing::{Fault, LoopbackHub, hub_with_token, quick};

    #[test]
    fn addresses_are_encoded_a_segment_at_a_time() {
        let hub = Hub::new(quick(), "https://mirror.example/hf/", None).unwrap();
        let url = hub.address(["o", "n", "resolve", "refs/pr/1", "a b%.gguf"]);
        assert_eq!(url.as_str(), "https://mirror.example/hf/o/n/resolve/refs%2Fpr%2F1/a%20b%25.gguf");
        for bad in ["", "huggingface.co", "file:///etc", "ftp://x", "https://user@huggingface.co"] {
            let problem = Hub::new(quick(), bad, None).err().unwrap();
            assert_eq!(problem.at, "HF_ENDPOINT", "{bad}");
        }
    }

    #[test]
    fn a_token_is_not_sent_in_the_clear_nor_shown() {
        let token = || Token::new(" hf_secret\n").unwrap();
        for (base, sent) in [("https://a.example", true), ("http://a.example", false), ("http://127.0.0.1:1", true)] {
            assert_eq!(Hub::new(quick(), base, token()).unwrap().has_token(), sent, "{base}");
        }
        assert_eq!(format!("{:?}", token().unwrap()), "Token(…)");
        assert_eq!(Token::new(" ").unwrap(), None);
        assert!(!Token::new("a\nb").unwrap_err().what.contains("a\nb"));
    }

    #[test]
    fn the_hub_sends_on_only_to_safe_places() {
        let server = LoopbackHub::start(Vec::new());
        let hub = hub_with_token(&server);
        for (to, word) in [
            ("http://169.254.169.254/latest", "http://169.254.169.254"),
            ("file:///etc/passwd", "file://"),
            ("https://user:word@example.org/", "https://example.org"),
            ("/again", "from one address to the next"),
        ] {
            server.fault_always("/again", Fault::Redirect(to.into()));
            let repository = Repository::model("o/n");
            let about = hub.about(&repository, "main", "");
            let url = hub.address(["again"]);
            let Err(Failed::Lasting(problem)) = block_on(hub.get(url, None, &about)) else { panic!("{to}") };
            assert!(problem.what.contains(word), "{to}: {problem:?}");
            server.forget();
        }
    }

    #[test]
    fn trouble_is_waited_for_and_refusals_are_not() {
        let server = LoopbackHub::start(Vec::new());
        let hub = hub_with_token(&server);
        let repository = Repository::model("o/n");
        let about = hub.about(&repository, "main", "");
        let mut waits = Vec::new();
        let mut ask = |go_on: bool| {
            waits.clear();
            let mut watch = |progress: &Progress| {
                if let Stage::Waiting(seconds, _) = progress.stage {
                    waits.push(seconds);
                }
                if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let asked = block_on(hub.answer(hub.address(["ok"]), &about, &mut watch));
            (asked.map(|(bytes, _)| bytes), waits.first().copied(), server.take_log().len())
        };
        let status = |status, headers: &[(&'static str, &str)]| {
            Fault::Status(status, headers.iter().map(|(n, v)| (*n, v.to_string())).collect())
        };
        for (fault, wait) in [
            (status(503, &[]), 1),
            (status(429, &[("RateLimit", "\"api\";r=0;t=2")]), 2),
            (status(429, &[("Retry-After", "3")]), 3),
            (Fault::Close, 1),
            (Fault::CutBody(1), 1),
        ] {
            server.fault("/ok", fault.clone());
            let (bytes, waited, asked) = ask(true);
            assert_eq!((bytes.unwrap().as_slice(), waited, asked), (b"ok".as_slice(), Some(wait), 2), "{fault:?}");
        }
        server.fault_always("/ok", status(502, &[]));
        let (answer, _, asked) = ask(true);
        assert_eq!((answer.unwrap_err().kind, asked), (ProblemKind::Network, TRIES as usize));
        let (answer, _, asked) = ask(false);
        assert_eq!((answer.unwrap_err().kind, asked), (ProblemKind::Stopped, 1));
        server.forget();
        server.fault_always("/ok", status(404, &[("X-Error-Code", "RepoNotFound")]));
        let (answer, _, asked) = ask(true);
        assert_eq!((answer.unwrap_err().kind, asked), (ProblemKind::Input, 1));
    }

    #[test]
    fn a_host_that_is_not_there_is_told() {
        let hub = Hub::new(quick(), "http://127.0.0.1:9", None).unwrap();
        let repository = Repository::model("o/n");
        let about = hub.about(&repository, "main", "");
        let asked = block_on(hub.answer(hub.address(["ok"]), &about, &mut |_| ControlFlow::Continue(())));
        let problem = asked.unwrap_err();
        assert!(problem.what.contains("127.0.0.1 cannot be reached"), "{problem:?}");
        assert!(problem.next.contains("HF_HUB_OFFLINE"), "{problem:?}");
    }
}
