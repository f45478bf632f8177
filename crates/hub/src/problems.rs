//! What the hub's refusals mean, in the words of a person.

use std::time::Duration;

use stratune_protocol::{Problem, ProblemKind};

use crate::transport::{Broken, Headers};

/// Longest that a server is waited for because it says so.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Where a token is given, and what to do where there is no connection: in a program, and in a page.
#[cfg(not(target_family = "wasm"))]
const TOKEN_AT: &str = "HF_TOKEN, or the file that `hf auth login` writes";
#[cfg(not(target_family = "wasm"))]
const AGAIN: &str =
    "check the connection and start again: what has come is kept; HF_HUB_OFFLINE=1 takes what is in the cache";
#[cfg(target_family = "wasm")]
const TOKEN_AT: &str = "the field for tokens";
#[cfg(target_family = "wasm")]
const AGAIN: &str = "check the connection and try again: what has come is kept";

/// What a request was about, for messages.
#[derive(Clone, Debug)]
pub(crate) struct About<'a> {
    /// The page of the repository, such as `https://huggingface.co/owner/name`.
    pub page: String,
    /// The repository.
    pub repository: &'a str,
    /// Branch, tag or commit.
    pub revision: &'a str,
    /// The file; empty if it is about the repository as a whole.
    pub file: &'a str,
    /// Whether a token is sent.
    pub token: bool,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Asking again may help, after so long if the server said so.
    Passing(Problem, Option<Duration>),
    /// It would be the same again.
    Lasting(Problem),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Lasting(problem)
    }
}

impl About<'_> {
    /// Where: the page, and the file there.
    pub fn place(&self) -> String {
        if self.file.is_empty() { self.page.clone() } else { format!("{} {}", self.page, self.file) }
    }

    /// There was no answer.
    pub fn broken(&self, host: &str, Broken { why, lasting }: Broken) -> Failed {
        let problem = self.network(format!("{host} cannot be reached: {why}"));
        if lasting { Failed::Lasting(problem) } else { Failed::Passing(problem, None) }
    }

    /// A problem of the network at this place.
    pub fn network(&self, what: String) -> Problem {
        Problem::new(ProblemKind::Network, what).at(self.place()).next(AGAIN)
    }

    /// An answer of the hub itself that is no success.
    pub fn refused(&self, status: u16, headers: &Headers) -> Failed {
        let code = headers.get("x-error-code").unwrap_or_default();
        let message = headers.get("x-error-message").unwrap_or_default();
        let Self { repository, revision, file, page, token } = self;
        let bad = |what: String, next: String| Failed::Lasting(Problem::input(what).at(self.place()).next(next));
        match (status, code) {
            (_, "RevisionNotFound") => {
                bad(format!("{repository} has no revision {revision}"), "use a branch, a tag or a commit".into())
            }
            (_, "EntryNotFound") => bad(
                format!("{repository} has no file {file} at {revision}"),
                format!("see the files at {page}/tree/main"),
            ),
            (403, "GatedRepo") => bad(
                format!("{repository} is gated, and the account of the token has no access yet"),
                format!("ask for it at {page} and wait for the answer"),
            ),
            (_, "GatedRepo") => bad(
                format!("{repository} is gated: whoever takes it has to agree to its terms first"),
                format!("agree at {page}, and give a token of that account by {TOKEN_AT}"),
            ),
            (403, _) if message.contains("is disabled") => {
                bad(format!("the hub has disabled {repository}"), format!("see {page}, or use another model"))
            }
            (401, _) if message.contains("Invalid credentials in Authorization header") => {
                bad("the hub does not accept the token".into(), format!("make another, and give it by {TOKEN_AT}"))
            }
            (401 | 404, _) => {
                let to_do = match token {
                    true => "check the name; if it is private, use a token that may read it".to_string(),
                    false => format!("check the name; if it is private, give a token by {TOKEN_AT}"),
                };
                bad(format!("{repository} is not on the hub, or is private"), to_do)
            }
            (403, _) => bad(
                format!("the hub refuses access to {repository}{}", said(message)),
                "use a token that may read it".into(),
            ),
            _ => self.trouble("the hub", status, headers),
        }
    }

    /// A status that says more of a server's state than of what was asked.
    pub fn trouble(&self, server: &str, status: u16, headers: &Headers) -> Failed {
        let told = said(headers.get("x-error-message").unwrap_or_default());
        match status {
            429 => {
                let wait = asked_to_wait(headers);
                let problem = self.network(format!("{server} answers no more requests for a while (429)"));
                match wait.filter(|wait| *wait > LONGEST_WAIT) {
                    Some(wait) => {
                        let next =
                            format!("start again in {} minutes; a token has higher limits", wait.as_secs() / 60 + 1);
                        Failed::Lasting(problem.next(next))
                    }
                    None => Failed::Passing(problem, wait),
                }
            }
            408 | 500..=599 => Failed::Passing(
                self.network(format!("{server} is in trouble: it answers {status}{told}")),
                asked_to_wait(headers).filter(|wait| *wait <= LONGEST_WAIT),
            ),
            _ => Failed::Lasting(self.network(format!("{server} answers {status}{told}"))),
        }
    }
}

/// What a server said, behind a colon, as far as it can be printed.
fn said(message: &str) -> String {
    let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    if message.is_empty() { message } else { format!(": {message}") }
}

/// Seconds to wait: `Retry-After: 5`, or `RateLimit: "resolvers";r=0;t=55`.
fn asked_to_wait(headers: &Headers) -> Option<Duration> {
    let limit = headers
        .get("ratelimit")
        .and_then(|limit| limit.split([';', ',']).find_map(|part| part.trim().strip_prefix("t="))?.parse().ok());
    let seconds: Option<u64> = headers.get("retry-after").and_then(|after| after.trim().parse().ok()).or(limit);
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&str, &str)]) -> Headers {
        all.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    const ABOUT: About<'static> =
        About { page: String::new(), repository: "o/n", revision: "main", file: "config.json", token: false };

    #[test]
    fn each_refusal_says_what_to_do() {
        for (status, code, message, what) in [
            (401, "", "Invalid username or password.", "is not on the hub, or is private"),
            (404, "RepoNotFound", "", "is not on the hub, or is private"),
            (401, "GatedRepo", "", "is gated: whoever"),
            (403, "GatedRepo", "", "has no access yet"),
            (401, "", "Invalid credentials in Authorization header", "does not accept the token"),
            (404, "EntryNotFound", "", "has no file config.json at main"),
            (404, "RevisionNotFound", "", "has no revision main"),
            (403, "", "Access to this resource is disabled.", "has disabled o/n"),
            (403, "", "no", "refuses access to o/n: no"),
            (400, "", "bad\nname", "answers 400: badname"),
        ] {
            let failed = ABOUT.refused(status, &headers(&[("X-Error-Code", code), ("x-error-message", message)]));
            let Failed::Lasting(problem) = failed else { panic!("{status} {code} is not tried again") };
            assert!(problem.what.contains(what) && !problem.next.is_empty(), "{status} {code}: {problem:?}");
            assert!(!problem.what.contains("password"), "{problem:?}");
        }
    }

    #[test]
    fn a_server_is_waited_for_as_it_says() {
        for (status, all, wait) in [
            (429, headers(&[("RateLimit", "\"resolvers\";r=0;t=55")]), Some(Some(55))),
            (429, headers(&[("ratelimit", "\"api\";r=0;t=7, \"x\";t=9")]), Some(Some(7))),
            (429, headers(&[("Retry-After", "3"), ("RateLimit", "t=9")]), Some(Some(3))),
            (429, headers(&[("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT")]), Some(None)),
            (429, headers(&[]), Some(None)),
            (429, headers(&[("Retry-After", "100000")]), None),
            (429, headers(&[("Retry-After", "99999999999999999999999")]), Some(None)),
            (503, headers(&[]), Some(None)),
            (504, headers(&[("Retry-After", "4")]), Some(Some(4))),
            (408, headers(&[]), Some(None)),
            (418, headers(&[]), None),
        ] {
            let found = match ABOUT.refused(status, &all) {
                Failed::Passing(_, wait) => Some(wait.map(|wait| wait.as_secs())),
                Failed::Lasting(problem) => {
                    assert_eq!(problem.kind, ProblemKind::Network);
                    None
                }
            };
            assert_eq!(found, wait, "{status} {all:?}");
        }
    }
}
