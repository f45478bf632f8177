//! One file: fetched from where it ended, over as many connections as it takes, and checked before it is called whole.

use std::ops::ControlFlow;

use stratune_protocol::{Problem, ProblemKind};

use crate::client::{Hub, Stage, Tries, stopped};
use crate::entry::Entry;
use crate::part::Part;
use crate::problems::{About, Failed};
use crate::repository::{RemoteFiles, Repository};
use crate::transport::{Headers, Response};

/// Bytes that are hashed at a time.
const CHUNK: usize = 1 << 20;
/// Answers of another part of the file after which what is there is given up, and after which all is.
const STRANGE: [u32; 2] = [2, 5];

/// Is told what is being done and how many bytes of the file are there.
pub type FileWatch<'a> = dyn FnMut(Stage, u64) -> ControlFlow<()> + 'a;

impl Hub {
    /// Fetches what is missing of a file into `part`, and checks the whole.
    ///
    /// # Errors
    /// The file cannot be had or kept, or is not what the hub says that it is; or the watch has stopped it. What has come stays
    /// in the part, unless it is wrong.
    pub async fn fetch_file(
        &self,
        remote: &RemoteFiles,
        entry: &Entry,
        part: &mut dyn Part,
        watch: &mut FileWatch<'_>,
    ) -> Result<(), Problem> {
        Download::new(self, &remote.repository, &remote.commit, entry, part).run(watch).await
    }
}

/// A file that is being fetched.
pub(crate) struct Download<'a> {
    pub hub: &'a Hub,
    pub repository: &'a Repository,
    /// The repository at a commit, for messages.
    pub about: About<'a>,
    pub entry: &'a Entry,
    pub part: &'a mut dyn Part,
    /// How often a server has sent another range than was asked for.
    strange: u32,
}

impl<'a> Download<'a> {
    /// Of `entry` in `repository` at `commit`.
    pub fn new(
        hub: &'a Hub,
        repository: &'a Repository,
        commit: &'a str,
        entry: &'a Entry,
        part: &'a mut dyn Part,
    ) -> Self {
        Self { hub, repository, about: hub.about(repository, commit, &entry.path), entry, part, strange: 0 }
    }

    /// Fetches what is missing and checks the whole. Bytes that are not the file's are removed and fetched once more.
    ///
    /// # Errors
    /// The file cannot be had, or is not what the hub says that it is; or the watch has stopped it. What has come stays in the
    /// part, unless it is wrong.
    pub async fn run(mut self, watch: &mut FileWatch<'_>) -> Result<(), Problem> {
        let mut found = String::new();
        for _ in 0..2 {
            self.fetch(watch).await?;
            found = self.digits(watch)?;
            if found == self.entry.hash.digits() {
                return Ok(());
            }
            self.part.clear()?;
        }
        let what = format!(
            "{} came twice with other bytes than the hub lists: its hash is {found} and should be {}; it was removed",
            self.entry.path,
            self.entry.hash.digits()
        );
        Err(Problem::new(ProblemKind::Network, what)
            .at(self.about.place())
            .next("look for a proxy or mirror on the way that changes files, or report it on the model's page"))
    }

    /// Asks until all bytes are there.
    async fn fetch(&mut self, watch: &mut FileWatch<'_>) -> Result<(), Problem> {
        let mut tries = Tries::default();
        if self.part.size() > self.entry.size {
            self.part.clear()?;
        }
        while self.part.size() < self.entry.size {
            let before = self.part.size();
            let Err(failed) = self.connection(watch).await else { continue };
            let have = self.part.size();
            if have > before {
                tries.reset();
            }
            tries.again(self.hub.transport(), failed, &mut |stage| watch(stage, have)).await?;
        }
        Ok(())
    }

    /// Takes what one connection gives. Each begins at the hub, which signs a new address for a large file: an old one may have
    /// expired.
    async fn connection(&mut self, watch: &mut FileWatch<'_>) -> Result<(), Failed> {
        let (have, size) = (self.part.size(), self.entry.size);
        let path = self.entry.path.split('/');
        let url = self.hub.address(self.repository.page().chain(["resolve", self.about.revision]).chain(path));
        let range = (have > 0).then_some(have..size);
        let mut response = self.hub.get(url, range, &self.about).await?;
        self.accept(&response)?;
        let mut came = false;
        let about = self.about.clone();
        let host = self.hub.host().to_string();
        while let Some(chunk) = response.body.chunk().await.map_err(|broken| about.broken(&host, broken))? {
            came = true;
            if chunk.len() as u64 > size - self.part.size() {
                self.part.clear()?;
                return Err(self.passing("the server sends more bytes than the file has"));
            }
            self.part.append(&chunk)?;
            if watch(Stage::Fetching, self.part.size()).is_break() {
                return Err(Failed::Lasting(stopped()));
            }
        }
        match self.part.size() == size {
            true => Ok(()),
            false if came => Err(self.passing("the server ended the file early")),
            false => Err(self.passing("the server sent none of the bytes")),
        }
    }

    /// Whether the bytes to come are those that go behind what is there; makes room for a whole file.
    fn accept(&mut self, response: &Response) -> Result<(), Failed> {
        let (have, size) = (self.part.size(), self.entry.size);
        let strange = match response.status {
            200 if have == 0 => return Ok(()),
            // A page about the network that does not say how long it is must not cost what is there at once.
            200 if length(&response.headers).map_or(self.strange >= STRANGE[0], |length| length == size) => {
                self.part.clear()?;
                return Ok(());
            }
            206 => match content_range(&response.headers) {
                Some((first, total)) if first == have && total.is_none_or(|total| total == size) => return Ok(()),
                Some((first, _)) => format!("the server sends the bytes from {first} on and not from {have} on"),
                None => "the server does not say which bytes it sends".into(),
            },
            416 => format!("the server has no byte {have}, and the file has {size}"),
            _ => "the server sends something else than the file".into(),
        };
        self.strange += 1;
        if self.strange >= STRANGE[1] {
            return Err(Failed::Lasting(self.about.network(strange)));
        }
        // A page about the network, such as that of a hotel, is not worth what is there.
        if self.strange >= STRANGE[0] && response.status != 200 {
            self.part.clear()?;
        }
        Err(self.passing(&strange))
    }

    fn passing(&self, what: &str) -> Failed {
        Failed::Passing(self.about.network(what.into()), None)
    }

    /// The hash of the bytes as the storage gives them back.
    fn digits(&mut self, watch: &mut FileWatch<'_>) -> Result<String, Problem> {
        let mut hasher = self.entry.hash.hasher(self.entry.size);
        let mut bytes = vec![0; CHUNK];
        let mut at = 0;
        loop {
            let count = self.part.read(at, &mut bytes)?;
            if count == 0 {
                return Ok(hasher.digits());
            }
            hasher.update(&bytes[..count]);
            at += count as u64;
            if watch(Stage::Checking, at).is_break() {
                return Err(stopped());
            }
        }
    }
}

fn length(headers: &Headers) -> Option<u64> {
    headers.get("content-length")?.trim().parse().ok()
}

/// `bytes 5-9/10` as 5 and 10; the second is `None` where the server does not know it.
fn content_range(headers: &Headers) -> Option<(u64, Option<u64>)> {
    let (bytes, total) = headers.get("content-range")?.trim().strip_prefix("bytes ")?.split_once('/')?;
    let first = bytes.split_once('-')?.0.parse().ok()?;
    Some((first, if total == "*" { None } else { Some(total.parse().ok()?) }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use pollster::block_on;

    use super::*;
    use crate::entry::Hash;
    use crate::testing::{self, COMMIT, Fault, LoopbackHub, git_sha1, hub_with_token, sha256};

    /// A part in memory.
    #[derive(Default)]
    struct Memory(Vec<u8>);

    impl Part for Memory {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<usize, Problem> {
            let rest = &self.0[at as usize..];
            let count = rest.len().min(bytes.len());
            bytes[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn append(&mut self, bytes: &[u8]) -> Result<(), Problem> {
            self.0.extend(bytes);
            Ok(())
        }

        fn clear(&mut self) -> Result<(), Problem> {
            self.0.clear();
            Ok(())
        }
    }

    /// More than a connection takes at a time.
    fn weights() -> Vec<u8> {
        (0..1_000_000_u32).map(|n| (n % 251) as u8).collect()
    }

    fn server() -> LoopbackHub {
        LoopbackHub::start(vec![testing::Repository::new(
            "o/n",
            COMMIT,
            &[
                ("model.safetensors", &weights(), true),
                ("sub dir/config.json", b"{\"a\": 1}", false),
                ("empty", b"", false),
            ],
        )])
    }

    fn large() -> Entry {
        let bytes = weights();
        Entry { path: "model.safetensors".into(), size: bytes.len() as u64, hash: Hash::Sha256(sha256(&bytes)) }
    }

    fn fetch(server: &LoopbackHub, entry: &Entry, part: &mut Memory) -> Result<(), Problem> {
        let hub = hub_with_token(server);
        block_on(
            Download::new(&hub, &Repository::model("o/n"), COMMIT, entry, part)
                .run(&mut |_, _| ControlFlow::Continue(())),
        )
    }

    #[test]
    fn small_and_large_files_come_and_the_token_stays_with_the_hub() {
        let server = server();
        let mut part = Memory::default();
        fetch(&server, &large(), &mut part).unwrap();
        assert_eq!(part.0, weights());
        let log = server.take_log();
        assert_eq!(log.iter().map(|asked| asked.hub).collect::<Vec<_>>(), [true, false]);
        assert_eq!(log.iter().map(|asked| asked.authorization.is_some()).collect::<Vec<_>>(), [true, false]);
        assert!(log.iter().all(|asked| !asked.target.contains("hf_good")), "{log:?}");

        let bytes = b"{\"a\": 1}";
        let small = Entry { path: "sub dir/config.json".into(), size: 8, hash: Hash::Git(git_sha1(bytes)) };
        let mut part = Memory::default();
        fetch(&server, &small, &mut part).unwrap();
        assert_eq!(part.0, bytes);
        let log = server.take_log();
        assert_eq!(log[0].target, format!("/o/n/resolve/{COMMIT}/sub%20dir/config.json"));
        assert_eq!((log.len(), log.iter().all(|asked| asked.hub)), (2, true));

        let empty = Entry { path: "empty".into(), size: 0, hash: Hash::Git(git_sha1(b"")) };
        fetch(&server, &empty, &mut Memory::default()).unwrap();
        assert!(server.take_log().is_empty(), "nothing has to be asked");
    }

    /// The faults of a connection: each is got over, with the ranges that it takes and no more.
    #[test]
    fn what_breaks_is_resumed() {
        let server = server();
        let status = |status, headers: &[(&'static str, &str)]| {
            Fault::Status(status, headers.iter().map(|(n, v)| (*n, v.to_string())).collect())
        };
        let from = |at: u32| Some(format!("bytes={at}-999999"));
        let half = Duration::from_secs(3);
        for (faults, there, ranges) in [
            // A connection that is dropped, once and again.
            (vec![Fault::CutBody(300_000)], 0, vec![None, from(300_000)]),
            (
                vec![Fault::CutBody(10), Fault::CutBody(10), Fault::CutBody(0)],
                0,
                vec![None, from(10), from(20), from(20)],
            ),
            // No byte for longer than a server is waited for.
            (vec![Fault::Silence(half)], 0, vec![None, from(500_000)]),
            // The end of an earlier download.
            (vec![], 999_999, vec![from(999_999)]),
            (vec![], 1_000_000, vec![]),
            // A signature that has expired, and troubles of the server.
            (vec![status(403, &[])], 5, vec![from(5), from(5)]),
            (vec![status(503, &[]), status(429, &[("Retry-After", "1")])], 5, vec![from(5); 3]),
            // A range of no bytes, another range, none at all.
            (vec![Fault::Empty], 5, vec![from(5), from(5)]),
            (vec![Fault::WrongRange], 5, vec![from(5), from(5)]),
            (vec![Fault::WrongRange, Fault::WrongRange], 5, vec![from(5), from(5), None]),
            (vec![status(416, &[("Content-Range", "bytes */3")])], 5, vec![from(5), from(5)]),
            (vec![Fault::Whole], 5, vec![from(5)]),
            // More than there should be.
            (vec![Fault::Longer], 0, vec![None, None]),
        ] {
            server.forget();
            faults.iter().for_each(|fault| server.fault("/xet-bridge/", fault.clone()));
            let mut part = Memory(weights()[..there].to_vec());
            fetch(&server, &large(), &mut part).unwrap();
            assert!(part.0 == weights(), "{faults:?} from {there}");
            let cdn: Vec<_> = server.take_log().into_iter().filter(|asked| !asked.hub).map(|a| a.range).collect();
            assert_eq!(cdn, ranges, "{faults:?} from {there}");
        }
        // More bytes than the file has are none of it.
        let mut part = Memory(vec![0; 1_000_001]);
        fetch(&server, &large(), &mut part).unwrap();
        assert!(part.0 == weights());
    }

    #[test]
    fn wrong_bytes_are_removed_and_told() {
        let server = server();
        server.fault("/xet-bridge/", Fault::Flip(7));
        let mut part = Memory::default();
        fetch(&server, &large(), &mut part).unwrap();
        assert!(part.0 == weights(), "the second time is the last");

        server.fault_always("/xet-bridge/", Fault::Flip(7));
        let problem = fetch(&server, &large(), &mut part).err();
        assert_eq!(problem, None, "nothing is asked for a file that is there");
        let mut part = Memory(weights()[..9].iter().map(|b| b ^ 1).collect());
        let problem = fetch(&server, &large(), &mut part).unwrap_err();
        assert!(problem.what.contains(&sha256(&weights())) && problem.what.contains("removed"), "{problem:?}");
        assert!(part.0.is_empty());
    }

    #[test]
    fn a_page_about_the_network_does_not_cost_what_is_there() {
        let server = server();
        server.fault_always("/resolve/", Fault::Status(200, Vec::new()));
        for there in [0, 700_000] {
            let mut part = Memory(weights()[..there].to_vec());
            let problem = fetch(&server, &large(), &mut part).unwrap_err();
            assert!(problem.what.contains("something else than the file"), "{problem:?}");
            assert!(part.0.len() >= there);
        }
        server.forget();
        server.fault("/resolve/", Fault::Status(200, Vec::new()));
        let mut part = Memory(weights()[..700_000].to_vec());
        fetch(&server, &large(), &mut part).unwrap();
        assert!(server.take_log().last().unwrap().range.as_deref() == Some("bytes=700000-999999"));
    }

    #[test]
    fn it_gives_up_and_can_be_stopped() {
        let server = server();
        server.fault_always("/xet-bridge/", Fault::Status(500, Vec::new()));
        let problem = fetch(&server, &large(), &mut Memory::default()).unwrap_err();
        assert!(problem.what.contains("answers 500"), "{problem:?}");
        assert_eq!(server.take_log().len(), 10, "five times, each by way of the hub");
        server.forget();
        let hub = hub_with_token(&server);
        let (entry, mut part) = (large(), Memory::default());
        let mut watch = |_, done| if done > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let ended = block_on(Download::new(&hub, &Repository::model("o/n"), COMMIT, &entry, &mut part).run(&mut watch));
        assert_eq!(ended.unwrap_err().kind, ProblemKind::Stopped);
        let there = part.0.len();
        assert!((100_000..1_000_000).contains(&there), "{there}");
        server.forget();
        fetch(&server, &large(), &mut part).unwrap();
        assert!(part.0 == weights());
        assert_eq!(server.take_log()[1].range, Some(format!("bytes={there}-999999")));
    }
}
