//! An error as a person reads it: what, where, and what next.

use serde::{Deserialize, Serialize};

/// Whose turn it is to act, which is also the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Input or usage: exit code 2.
    Input,
    /// The device: exit code 3.
    Device,
    /// The device's memory is exhausted: exit code 3.
    Memory,
    /// The disk, or the browser's storage: exit code 3.
    Storage,
    /// The network, or the server at its other end: exit code 3.
    Network,
    /// The numbers went wrong (loss is not finite): exit code 3.
    Numeric,
    /// A person has stopped what was under way: exit code 130.
    Stopped,
    /// A defect of this program: exit code 1.
    Internal,
}

impl ProblemKind {
    /// The exit code a command line ends with.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Input => 2,
            Self::Device | Self::Memory | Self::Storage | Self::Network | Self::Numeric => 3,
            Self::Stopped => 130,
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

/// What drivers and browsers say when they cannot allocate: cubecl, CUDA, Vulkan and WebGPU; JavaScript.
const OUT_OF_MEMORY: [&str; 6] = [
    "out of memory",
    "out of device memory",
    "outofmemory",
    "can't allocate buffer",
    "allocation failed",
    "memory allocation of",
];

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

    /// A person has stopped what was under way, and nothing has come of it.
    pub fn stopped() -> Self {
        Self::new(ProblemKind::Stopped, "stopped before the first step, and nothing was written")
    }

    /// What the words of a device, a driver or a browser come to: its memory is exhausted, or it is gone.
    pub fn of_device(words: &str) -> Self {
        let plain = words.to_lowercase().replace(['_', '-'], " ");
        if !OUT_OF_MEMORY.iter().any(|sign| plain.contains(sign)) {
            return Self::new(ProblemKind::Device, format!("the device stopped answering: {words}"))
                .next("start again from the last checkpoint");
        }
        let first = words.lines().map(str::trim).find(|line| {
            let plain = line.to_lowercase().replace(['_', '-'], " ");
            OUT_OF_MEMORY.iter().any(|sign| plain.contains(sign))
        });
        Self::new(ProblemKind::Memory, format!("the device's memory is exhausted: {}", first.unwrap_or(words)))
            .next("the last checkpoint stands; start anew with a smaller batch_size, max_length or graph_memory")
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

    /// The remedy, unless there is one already.
    #[must_use]
    pub fn or_next(self, next: &str) -> Self {
        if self.next.is_empty() { self.next(next) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_memory_is_told_from_a_lost_device() {
        for words in [
            "IoError\nCaused by:\n  out of device memory allocating 1073741824 bytes\nbacktrace",
            "can't allocate buffer of size: 5000000000",
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "wgpu error: Out of Memory",
            "An out-of-memory error happened during launch",
            "RangeError: Array buffer allocation failed",
        ] {
            let problem = Problem::of_device(words);
            assert_eq!((problem.kind, problem.kind.exit_code()), (ProblemKind::Memory, 3), "{words}");
            assert!(problem.next.contains("batch_size"), "{problem:?}");
        }
        let told = Problem::of_device("IoError\n  out of device memory allocating 8 bytes\n  0: core::panicking");
        assert_eq!(told.what, "the device's memory is exhausted: out of device memory allocating 8 bytes");
        for words in ["Destroyed: the driver was reset", "an illegal memory access"] {
            assert_eq!(Problem::of_device(words).kind, ProblemKind::Device, "{words}");
        }
    }
}
