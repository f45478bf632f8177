//! A web server for one folder, on this machine only: what any static host does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The hub that the page is built for.
const HUB: &str = "https://huggingface.co";

/// A folder that is served until the test ends.
pub struct Site {
    /// Where it is served, such as `http://127.0.0.1:40123`.
    pub origin: String,
}

impl Site {
    /// Serves `folder` on a free port.
    pub fn serve(folder: &Path) -> Self {
        Self::serve_with(folder, Vec::new())
    }

    /// The same with another hub than the page is built for, and its server of large files: whoever serves a page says where its
    /// hub is, and its policy allows that one alone.
    pub fn serve_with_hub(folder: &Path, hub: &str, large_files: &str) -> Self {
        let hosts = format!(" {HUB} https://*.hf.co ");
        Self::serve_with(
            folder,
            vec![(hosts, format!(" {hub} {large_files} ")), (format!("\"{HUB}\""), format!("\"{hub}\""))],
        )
    }

    /// `changes` are made in `index.html`, each once.
    fn serve_with(folder: &Path, changes: Vec<(String, String)>) -> Self {
        assert!(folder.join("index.html").is_file(), "{} holds no index.html: build the page first", folder.display());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let folder: Arc<Path> = folder.into();
        let index = std::fs::read_to_string(folder.join("index.html")).unwrap();
        let index = changes.iter().fold(index, |index, (from, to)| {
            assert_eq!(index.matches(from.as_str()).count(), 1, "{from} in index.html");
            index.replace(from, to)
        });
        let index: Arc<str> = index.into();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, index) = (folder.clone(), index.clone());
                // A browser that goes away in the middle is no error here.
                std::thread::spawn(move || drop(answer(stream, &folder, &index)));
            }
        });
        Self { origin }
    }
}

fn answer(mut stream: TcpStream, folder: &Path, index: &str) -> std::io::Result<()> {
    let mut head = BufReader::new((&stream).take(16 << 10));
    let mut request = String::new();
    head.read_line(&mut request)?;
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let file = file(target, folder).and_then(|path| {
        let bytes = if path == folder.join("index.html") { index.into() } else { std::fs::read(&path).ok()? };
        Some((media_type(&path), bytes))
    });
    let (status, media_type, body) = match (method, file) {
        ("GET" | "HEAD", Some((media_type, body))) => ("200 OK", media_type, body),
        ("GET" | "HEAD", None) => ("404 Not Found", "text/plain", b"not found".to_vec()),
        _ => ("405 Method Not Allowed", "text/plain", b"only GET and HEAD".to_vec()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )?;
    if method == "HEAD" { Ok(()) } else { stream.write_all(&body) }
}

/// The file that a request means. Only plain names: a name that climbs, or that needs decoding, is not there.
fn file(target: &str, folder: &Path) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = if path.is_empty() { "index.html" } else { path };
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    path.split('/').all(plain).then(|| folder.join(path))
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}

#[test]
fn only_files_of_the_folder_are_served() {
    let folder = Path::new("dist");
    for (target, served) in [
        ("/", Some("dist/index.html")),
        ("/?device=cpu", Some("dist/index.html")),
        ("/starter/config.json", Some("dist/starter/config.json")),
        ("/app_bg.wasm?x=/../y", Some("dist/app_bg.wasm")),
        ("", None),
        ("/../secret", None),
        ("/starter/../../secret", None),
        ("/%2e%2e/secret", None),
        ("/..\\secret", None),
        ("//etc/passwd", None),
        ("/c:/secret", None),
        ("/.git/config", None),
        ("http://other/", None),
    ] {
        assert_eq!(file(target, folder), served.map(PathBuf::from), "{target}");
    }
}

#[test]
fn files_are_served_with_their_types() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<p>").unwrap();
    std::fs::write(folder.path().join("a.wasm"), "\0asm").unwrap();
    let site = Site::serve(folder.path());
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(site.origin.trim_start_matches("http://")).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for (request, parts) in [
        ("GET /", ["200 OK", "text/html", "\r\n\r\n<p>"]),
        ("GET /a.wasm", ["200 OK", "application/wasm", "\r\n\r\n\0asm"]),
        ("HEAD /a.wasm", ["200 OK", "Content-Length: 4", "close\r\n\r\n"]),
        ("GET /none.js", ["404", "text/plain", "not found"]),
        ("POST /", ["405", "text/plain", "only GET"]),
    ] {
        let answer = ask(request);
        assert!(parts.iter().all(|part| answer.contains(part)), "{request}: {answer}");
    }
    assert!(ask("HEAD /a.wasm").ends_with("\r\n\r\n"));
}
