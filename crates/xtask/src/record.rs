//! Running tests: what they print is passed on, and how long each took and which were skipped is recorded.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::shell::{self, Failure};

/// How many of the slowest tests are named.
const SLOWEST: usize = 20;

/// How the line of a test that is skipped begins; its name and the reason follow. `tests/src/skipped.rs` writes it.
const SKIPPED: &str = "skipped: ";

/// A test: the binary it is in, and its name there.
type Name = (String, String);

/// How long tests took, and why some were skipped.
pub struct Record {
    /// Tests that run at a time.
    threads: usize,
    took: BTreeMap<Name, Duration>,
    skipped: BTreeMap<Name, String>,
    running: Binary,
    /// The binary that cargo starts next.
    next: String,
}

/// The test binary that runs.
struct Binary {
    name: String,
    began: Instant,
    /// Its tests in the order in which they ended.
    ended: Vec<(String, Instant)>,
    skipped: Vec<(String, String)>,
}

impl Record {
    /// Nothing has run.
    pub fn new() -> Self {
        let told = std::env::var("RUST_TEST_THREADS").ok().and_then(|n| n.parse().ok());
        let threads = told.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let running = Binary { name: String::new(), began: Instant::now(), ended: Vec::new(), skipped: Vec::new() };
        Self { threads: threads.max(1), took: BTreeMap::new(), skipped: BTreeMap::new(), running, next: String::new() }
    }

    /// Runs `cargo test` and lets it speak for itself.
    pub fn run(&mut self, command: &mut Command) -> Result<(), Failure> {
        if std::io::stderr().is_terminal() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        self.listen(command, [Box::new(std::io::stdout()), Box::new(std::io::stderr())])
    }

    /// Runs a command and passes its two streams on.
    fn listen(&mut self, command: &mut Command, [out, err]: [Box<dyn Write + Send>; 2]) -> Result<(), Failure> {
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|e| shell::does_not_start(command, &e))?;
        let (lines, heard) = channel();
        if let Some(from) = child.stdout.take() {
            pass_on(from, out, lines.clone());
        }
        if let Some(from) = child.stderr.take() {
            pass_on(from, err, lines.clone());
        }
        drop(lines);
        for (line, when) in heard {
            self.hear(&line, when);
        }
        let status = child.wait().map_err(|e| shell::does_not_start(command, &e))?;
        self.settle();
        shell::succeeded(command, status)
    }

    /// A line of either stream.
    fn hear(&mut self, line: &str, when: Instant) {
        let line = without_colours(line);
        let line = line.trim();
        if let Some((_, binary)) = line.strip_prefix("Running ").and_then(|rest| rest.rsplit_once('(')) {
            self.next = binary_name(binary.trim_end_matches(')'));
        } else if let Some(library) = line.strip_prefix("Doc-tests ") {
            self.next = format!("docs of {library}");
        } else if line.starts_with("running ") && line.ends_with(['t', 's']) {
            // Only here: cargo's own lines come by the other stream, and may overtake the last ones of the binary before.
            self.settle();
            (self.running.name, self.running.began) = (self.next.clone(), when);
        } else if let Some((test, why)) = line.strip_prefix(SKIPPED).and_then(|rest| rest.split_once(": ")) {
            self.running.skipped.push((test.into(), why.into()));
        } else if let Some((test, "ok" | "FAILED")) = line.strip_prefix("test ").and_then(|l| l.rsplit_once(" ... ")) {
            self.running.ended.push((test.into(), when));
        }
    }

    /// Takes up what the binary that ran did. A test that was skipped before and ran now counts as run.
    fn settle(&mut self) {
        let Binary { name, began, ended, skipped } = &mut self.running;
        for (test, time) in durations(*began, std::mem::take(ended), self.threads) {
            let test = (name.clone(), test);
            self.skipped.remove(&test);
            self.took.insert(test, time);
        }
        for (test, why) in skipped.drain(..) {
            self.skipped.insert((name.clone(), test), why);
        }
    }

    /// Takes up what ran beside.
    pub fn add(&mut self, beside: Self) {
        self.took.extend(beside.took);
        self.skipped.extend(beside.skipped);
    }

    /// Names the slowest tests, and in the last line how many were skipped and why.
    pub fn print(&self) {
        if !self.took.is_empty() {
            eprint!("{}", self.text());
        }
    }

    fn text(&self) -> String {
        let mut slowest: Vec<_> = self.took.iter().collect();
        slowest.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        let mut text = format!("── the slowest of {} tests\n", self.took.len());
        for ((binary, test), time) in slowest.into_iter().take(SLOWEST) {
            text += &format!("{:8.1} s  {binary}: {test}\n", time.as_secs_f64());
        }
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        self.skipped.values().for_each(|why| *reasons.entry(why).or_default() += 1);
        let reasons: Vec<String> = reasons.into_iter().map(|(why, count)| format!("{count} × {why}")).collect();
        let all = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
        text + &format!("── {} tests skipped{all}\n", self.skipped.len())
    }
}

/// Passes lines on as they come, and says when each came.
fn pass_on(from: impl Read + Send + 'static, mut to: Box<dyn Write + Send>, lines: Sender<(String, Instant)>) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let when = Instant::now();
            let _ = to.write_all(&line).and_then(|()| to.flush());
            let _ = lines.send((String::from_utf8_lossy(&line).into_owned(), when));
            line.clear();
        }
    });
}

/// How long each test took, which stable Rust does not say: the test harness begins tests in the order of their names,
/// `threads` at a time, and the next whenever one ends.
fn durations(began: Instant, mut ended: Vec<(String, Instant)>, threads: usize) -> Vec<(String, Duration)> {
    let ends: Vec<Instant> = ended.iter().map(|(_, end)| *end).collect();
    ended.sort_by(|(a, _), (b, _)| a.cmp(b));
    let took = |(i, (name, end)): (usize, (String, Instant))| {
        let begun = i.checked_sub(threads).map_or(began, |before| ends[before]);
        (name, end.saturating_duration_since(begun))
    };
    ended.into_iter().enumerate().map(took).collect()
}

/// `methods` of `…/deps/methods-27985e2abce4bc60`.
fn binary_name(path: &str) -> String {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    file.rsplit_once('-').map_or(file, |(name, _)| name).to_string()
}

/// Without the escape sequences that colour a terminal's text.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, behind)| behind))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a record says of lines that came at these tenths of a second.
    fn of(lines: &[(u64, &str)]) -> Record {
        let start = Instant::now();
        let mut record = Record { threads: 2, ..Record::new() };
        for (tenths, line) in lines {
            record.hear(line, start + Duration::from_millis(tenths * 100));
        }
        record.settle();
        record
    }

    #[test]
    fn times_follow_from_the_order_of_names_and_ends() {
        let record = of(&[
            (0, "\x1b[1m\x1b[32m     Running\x1b[0m unittests src/lib.rs (target/debug/deps/stratune_data-0123ab)\n"),
            (10, "running 4 tests\n"),
            // a and b begin at 10; c when b ends, d when a ends.
            (13, "test b ... ok\n"),
            (15, "test a ... ok\n"),
            (16, "test d ... FAILED\n"),
            (16, "test of_old has been running for over 60 seconds\n"),
            (40, "test c ... ok\n"),
            (40, "test result: FAILED. 3 passed; 1 failed\n"),
        ]);
        let took = |test: &str| record.took[&("stratune_data".to_string(), test.to_string())].as_millis();
        assert_eq!(["a", "b", "c", "d"].map(took), [500, 300, 2700, 100]);
        assert_eq!(record.took.len(), 4);
        let text = record.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["── the slowest of 4 tests", "     2.7 s  stratune_data: c"]);
        assert_eq!(*lines.last().unwrap(), "── 0 tests skipped");
    }

    #[test]
    fn tests_that_skip_are_counted_once_and_by_reason() {
        let first = [
            (0, "     Running tests/parity/main.rs (/t/deps/parity-0f)"),
            (0, "running 2 tests"),
            (1, "skipped: on_wgpu: no usable GPU: none"),
            (1, "skipped: on_wgpu: no usable GPU: none"),
            (1, "test on_wgpu ... ok"),
            (2, "skipped: deep::stories: STRATUNE_DATA is not set"),
            (2, "test deep::stories ... ok"),
            (3, "     Running tests/e2e/main.rs (/t/deps/e2e-0f)"),
            (3, "running 1 test"),
            (3, "skipped: page: STRATUNE_DIST is not set"),
            (3, "test page ... ok"),
        ];
        let last = of(&first).text();
        let expected = "── 3 tests skipped: 1 × STRATUNE_DATA is not set; 1 × STRATUNE_DIST is not set; \
                        1 × no usable GPU: none";
        assert_eq!(last.lines().last().unwrap(), expected);
        // What ran in the end is not skipped.
        let later =
            [(9, "     Running tests/e2e/main.rs (/t/deps/e2e-1c)"), (9, "running 1 test"), (9, "test page ... ok")];
        let last = of(&[&first[..], &later[..]].concat()).text();
        assert!(last.lines().last().unwrap().starts_with("── 2 tests skipped: "), "{last}");
    }

    #[test]
    fn both_streams_are_heard() {
        let mut record = Record::new();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 'test out ... ok'; sleep 0.1; echo 'skipped: out: because' >&2; exit 3"]);
        if cfg!(unix) {
            let nowhere: [Box<dyn Write + Send>; 2] = [Box::new(std::io::sink()), Box::new(std::io::sink())];
            assert_eq!(record.listen(&mut shell, nowhere).unwrap_err().code, 1);
            assert_eq!(record.skipped.values().collect::<Vec<_>>(), ["because"]);
            assert_eq!(record.took.len(), 1);
        }
    }
}
