//! An error as a person reads it: what, where, and what next.

use serde::{Deserialize, Serialize};

/// Whose turn it is to act, which is also the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Input or usage: exit code 2.
    Input,
    /// Device or memory: exit code 3.
    Device,
    /// The disk, or the browser's storage: exit code 3.
    Storage,
    /// The numbers went wrong (loss is not finite): exit code 3.
    Numeric,
    /// A defect of this program: exit code 1.
    Internal,
}

impl ProblemKind {
    /// The exit code a command line ends with.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Input => 2,
            Self::Device | Self::Storage | Self::Numeric => 3,
            Self::Internal => 1,
        }
    }
}

/// What went wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}{}", place(at))]
pub struct Problem {
    /// Who can mend it.
    pub kind: ProblemKind,
    /// What happened, one sentence without a full stop.
    pub what: String,
    /// File, row or field; empty if there is none.
    #[serde(default)]
    pub at: String,
    /// The next step; empty if there is none to give.
    #[serde(default)]
    pub next: String,
}

fn place(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!(" ({at})") }
}

impl Problem {
    /// A problem of `kind`; add the place with [`at`](Self::at) and the remedy with [`next`](Self::next).
    pub fn new(kind: ProblemKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), at: String::new(), next: String::new() }
    }

    /// Bad input.
    pub fn input(what: impl Into<String>) -> Self {
        Self::new(ProblemKind::Input, what)
    }

    /// Says where: a file, a row, a field.
    #[must_use]
    pub fn at(mut self, at: impl Into<String>) -> Self {
        self.at = at.into();
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }
}
