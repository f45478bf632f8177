//! A hub on the machine itself that answers as huggingface.co does, its faults among them: small files after a relative
//! redirect, large files from another server after a signed one, whose headers tell nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use self::repository::percent_decoded;
pub use self::repository::{RemoteFile, Repository, git_sha1, sha256};

#[path = "loopback_repository.rs"]
mod repository;

/// The token that may read gated repositories; another is one without access.
pub const TOKEN: &str = "hf_good";

/// What a server does wrong, in answer to an address that contains a text.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with this status and these headers, and a page of HTML.
    Status(u16, Vec<(&'static str, String)>),
    /// Sends on to there.
    Redirect(String),
    /// Closes the connection without a word.
    Close,
    /// Closes the connection after so many bytes of the body.
    CutBody(usize),
    /// Says nothing more for so long after half of the body.
    Silence(Duration),
    /// Answers a range with the whole file.
    Whole,
    /// Answers a range with one that begins a byte later.
    WrongRange,
    /// Answers with no bytes, and says that this is all.
    Empty,
    /// Adds a byte at the end.
    Longer,
    /// Changes a byte.
    Flip(usize),
}

/// A request that has come.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whether it came to the hub, and not to the server of large files.
    pub hub: bool,
    pub target: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

struct State {
    repositories: Vec<Repository>,
    faults: Mutex<Vec<(String, Fault, bool)>>,
    log: Mutex<Vec<Asked>>,
    base: String,
    cdn: String,
}

/// The hub and its server of large files, each at a port of its own.
#[derive(Clone)]
pub struct LoopbackHub {
    state: Arc<State>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LoopbackHub {
    pub fn start(repositories: Vec<Repository>) -> Self {
        let [hub, cdn] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [base, cdn_at] = [&hub, &cdn].map(|server| format!("http://{}", server.local_addr().unwrap()));
        let (faults, log) = (Mutex::default(), Mutex::default());
        let state = Arc::new(State { repositories, faults, log, base, cdn: cdn_at });
        for (server, is_hub) in [(hub, true), (cdn, false)] {
            let state = state.clone();
            thread::spawn(move || {
                for stream in server.incoming().flatten() {
                    let state = state.clone();
                    // A client that has gone is no fault of the server's.
                    thread::spawn(move || state.serve(stream, is_hub).ok());
                }
            });
        }
        Self { state }
    }

    pub fn base(&self) -> &str {
        &self.state.base
    }

    /// The server of large files.
    pub fn large_files(&self) -> &str {
        &self.state.cdn
    }

    /// The next request whose address contains `part` goes wrong.
    pub fn fault(&self, part: &str, fault: Fault) {
        held(&self.state.faults).push((part.into(), fault, false));
    }

    /// All of them do.
    pub fn fault_always(&self, part: &str, fault: Fault) {
        held(&self.state.faults).push((part.into(), fault, true));
    }

    /// Nothing goes wrong any more, and nothing has been asked.
    pub fn forget(&self) {
        held(&self.state.faults).clear();
        held(&self.state.log).clear();
    }

    /// What has been asked since the last time.
    pub fn take_log(&self) -> Vec<Asked> {
        std::mem::take(&mut held(&self.state.log))
    }
}

/// An answer before a fault has spoiled it.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self { status, headers, body: body.into() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, &[("X-Error-Code", code)], "<html>no</html>")
    }
}

impl State {
    fn serve(&self, stream: TcpStream, hub: bool) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let target = line.split(' ').nth(1).unwrap_or_default().to_string();
        let mut asked = Asked { hub, target, authorization: None, range: None };
        let mut origin = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else { continue };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => asked.authorization = Some(value.into()),
                "range" => asked.range = Some(value.into()),
                "origin" => origin = Some(value.to_string()),
                _ => {}
            }
        }
        let shared = origin.map(|origin| shared(&origin, hub)).unwrap_or_default();
        if line.starts_with("OPTIONS ") {
            // What a browser asks before it sends a token; of large files it never has to.
            let status = if hub { "204 Good" } else { "405 No" };
            return write!(reader.into_inner(), "HTTP/1.1 {status}\r\nConnection: close\r\n{shared}\r\n");
        }
        held(&self.log).push(asked.clone());
        let fault = {
            let mut faults = held(&self.faults);
            let found = faults.iter().position(|(part, ..)| asked.target.contains(part));
            found.map(|at| if faults[at].2 { faults[at].1.clone() } else { faults.remove(at).1 })
        };
        if matches!(fault, Some(Fault::Whole)) {
            asked.range = None;
        }
        let answer = if hub { self.hub(&asked) } else { self.large(&asked) };
        spoiled(reader.into_inner(), answer, fault, line.starts_with("HEAD "), &shared)
    }

    fn hub(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let path = percent_decoded(path);
        if path == "/ok" {
            return Answer::new(200, &[], "ok");
        }
        let mut known = false;
        for repository in &self.repositories {
            let (commit, kind) = (repository.commit.as_str(), repository.plural());
            let api = format!("/api/{kind}/{}", repository.id);
            if let Some(former) = &repository.former {
                let old = format!("/api/{kind}/{former}");
                if path == old || path.starts_with(&format!("{old}/")) {
                    return Answer::new(307, &[("Location", &path.replacen(&old, &api, 1))], "");
                }
            }
            let revisions = repository.revisions();
            if path == api || revisions.iter().any(|r| path == format!("{api}/revision/{r}")) {
                let gated = if repository.gated { json!("auto") } else { json!(false) };
                let about = json!({ "id": repository.id, "sha": commit, "gated": gated,
                    "cardData": { "license": "apache-2.0" }, "config": { "model_type": "llama" },
                    "safetensors": { "total": 1234 } });
                return Answer::new(200, &[], about.to_string());
            }
            known |= path.starts_with(&format!("{api}/revision/"));
            if path == format!("{api}/refs") {
                return self.branches(repository);
            }
            if path == format!("{api}/tree/{commit}") {
                return self.tree(repository, query);
            }
            for revision in revisions {
                let files = format!("/{}{}/resolve/{revision}/", repository.prefix(), repository.id);
                if let Some(file) = path.strip_prefix(&files) {
                    return self.resolve(repository, file, asked);
                }
            }
            if let Some(file) = path.strip_prefix(&format!("/api/resolve-cache/{kind}/{}/{commit}/", repository.id)) {
                let file = repository.files.iter().find(|f| f.path == file).unwrap();
                let mut answer = ranged(&file.bytes, asked.range.as_deref(), &git_sha1(&file.bytes));
                answer.headers.push(("X-Repo-Commit".into(), commit.into()));
                return answer;
            }
        }
        if known {
            return Answer::error(404, "RevisionNotFound");
        }
        match asked.authorization {
            Some(_) => Answer::error(404, "RepoNotFound"),
            None => Answer::new(401, &[("X-Error-Message", "Invalid username or password.")], "no"),
        }
    }

    /// The branches of a repository, those of conversions apart.
    fn branches(&self, repository: &Repository) -> Answer {
        let same = |other: &&Repository| other.dataset == repository.dataset && other.id == repository.id;
        let all = self.repositories.iter().filter(same);
        let converts: Vec<Value> = all
            .filter_map(|other| {
                Some(json!({ "name": "parquet", "ref": other.branch.as_ref()?, "targetCommit": other.commit }))
            })
            .collect();
        let main = json!([{ "name": "main", "ref": "refs/heads/main", "targetCommit": repository.commit }]);
        Answer::new(200, &[], json!({ "branches": main, "tags": [], "converts": converts }).to_string())
    }

    fn tree(&self, repository: &Repository, query: &str) -> Answer {
        let file = |file: &RemoteFile| {
            let mut entry = json!({ "type": "file", "path": file.path, "size": file.bytes.len(),
                "oid": git_sha1(&file.bytes) });
            if file.large {
                // The first is the hash of the pointer, and not of the file.
                entry["oid"] = json!(git_sha1(file.path.as_bytes()));
                entry["lfs"] = json!({ "oid": sha256(&file.bytes), "size": file.bytes.len(), "pointerSize": 130 });
            }
            entry
        };
        let directory = json!({ "type": "directory", "path": "onnx", "size": 0, "oid": git_sha1(b"") });
        let files = repository.files.iter().map(file);
        let all: Vec<Value> = std::iter::once(directory).chain(files).chain(repository.entries.clone()).collect();
        let from: usize = query.split('&').find_map(|p| p.strip_prefix("cursor=")?.parse().ok()).unwrap_or(0);
        let page = if repository.page == 0 { all.len() } else { repository.page };
        let shown: Vec<&Value> = all.iter().skip(from).take(page).collect();
        let mut answer = Answer::new(200, &[], json!(shown).to_string());
        if repository.endless || from + page < all.len() {
            let (base, id, commit, kind) = (&self.base, &repository.id, &repository.commit, repository.plural());
            let next = format!("{base}/api/{kind}/{id}/tree/{commit}?recursive=true&cursor={}", from + page);
            answer.headers.push(("Link".into(), format!("<{next}>; rel=\"next\"")));
        }
        answer
    }

    fn resolve(&self, repository: &Repository, path: &str, asked: &Asked) -> Answer {
        if repository.gated {
            match asked.authorization.as_deref().map(|given| given.strip_prefix("Bearer ")) {
                None => return Answer::error(401, "GatedRepo"),
                Some(Some(TOKEN)) => {}
                Some(_) => return Answer::error(403, "GatedRepo"),
            }
        }
        let Some(file) = repository.files.iter().find(|file| file.path == path) else {
            return Answer::error(404, "EntryNotFound");
        };
        let commit = repository.commit.as_str();
        let page = "x".repeat(1000);
        if file.large {
            let hash = sha256(&file.bytes);
            let at = format!("{}/xet-bridge/{}?Expires=1&Signature=s", self.cdn, &hash[..16]);
            let size = file.bytes.len().to_string();
            let headers = [
                ("Location", at.as_str()),
                ("X-Repo-Commit", commit),
                ("X-Linked-Size", size.as_str()),
                ("X-Linked-Etag", &format!("\"{hash}\"")),
            ];
            return Answer::new(302, &headers, page);
        }
        let etag = git_sha1(&file.bytes);
        let at = format!(
            "/api/resolve-cache/{}/{}/{commit}/{}?etag={etag}",
            repository.plural(),
            repository.id,
            path.replace('%', "%25").replace(' ', "%20")
        );
        let headers = [("Location", at.as_str()), ("X-Repo-Commit", commit), ("X-Linked-Etag", &format!("\"{etag}\""))];
        Answer::new(307, &headers, page)
    }

    /// The other server, which knows nothing of repositories.
    fn large(&self, asked: &Asked) -> Answer {
        let files = self.repositories.iter().flat_map(|repository| &repository.files);
        let found = files
            .filter(|file| file.large)
            .find(|file| asked.target.starts_with(&format!("/xet-bridge/{}?", &sha256(&file.bytes)[..16])));
        match found {
            Some(file) => ranged(&file.bytes, asked.range.as_deref(), &"e".repeat(64)),
            None => Answer::error(403, "AccessDenied"),
        }
    }
}

fn ranged(bytes: &[u8], range: Option<&str>, etag: &str) -> Answer {
    let etag = format!("\"{etag}\"");
    let size = bytes.len();
    let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return Answer::new(200, &[("ETag", &etag), ("Accept-Ranges", "bytes")], bytes);
    };
    let start: usize = range.0.parse().unwrap();
    let end = range.1.parse().map_or(size, |last: usize| size.min(last + 1));
    if start >= end {
        return Answer::new(416, &[("Content-Range", &format!("bytes */{size}"))], "");
    }
    let of = format!("bytes {start}-{}/{size}", end - 1);
    Answer::new(206, &[("ETag", &etag), ("Content-Range", &of)], &bytes[start..end])
}

/// What lets a page of another origin read an answer, and which of its headers.
fn shared(origin: &str, hub: bool) -> String {
    if !hub {
        return "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n".into();
    }
    let exposed = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,\
                   Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash";
    format!(
        "Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\nAccess-Control-Allow-Methods: GET\r\n\
         Access-Control-Allow-Headers: authorization, range\r\nAccess-Control-Expose-Headers: {exposed}\r\n"
    )
}

/// Sends an answer as a server does that has this fault.
fn spoiled(
    mut stream: TcpStream,
    mut answer: Answer,
    fault: Option<Fault>,
    head_alone: bool,
    shared: &str,
) -> std::io::Result<()> {
    let mut sent = usize::MAX;
    let mut silence = None;
    match fault {
        None | Some(Fault::Whole) => {}
        Some(Fault::CutBody(bytes)) => sent = bytes,
        Some(Fault::Silence(time)) => (sent, silence) = (answer.body.len() / 2, Some(time)),
        Some(Fault::Status(status, ref headers)) => {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            answer = Answer::new(status, &headers, "<html>trouble</html>");
        }
        Some(Fault::Redirect(ref to)) => answer = Answer::new(302, &[("Location", to)], ""),
        Some(Fault::Close) => return Ok(()),
        Some(Fault::WrongRange) => {
            for (name, value) in &mut answer.headers {
                if name == "Content-Range" {
                    let (first, rest) = value["bytes ".len()..].split_once('-').unwrap();
                    *value = format!("bytes {}-{rest}", first.parse::<usize>().unwrap() + 1);
                }
            }
        }
        Some(Fault::Empty) => answer.body.clear(),
        Some(Fault::Longer) => answer.body.push(0),
        Some(Fault::Flip(at)) => answer.body[at] ^= 1,
    }
    let mut head =
        format!("HTTP/1.1 {} Answer\r\nConnection: close\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    answer.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{head}{shared}\r\n").as_bytes())?;
    if head_alone {
        return Ok(());
    }
    stream.write_all(&answer.body[..sent.min(answer.body.len())])?;
    if let Some(time) = silence {
        thread::sleep(time);
    }
    Ok(())
}
