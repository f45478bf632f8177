//! Where and when something was measured.

use std::process::Command;

use stratune_study::Made;

/// This program, this machine, today.
pub fn made() -> Made {
    Made { version: version(), machine: machine(), date: date() }
}

/// The version, and the commit of the checkout that it was built in, where that is there.
fn version() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).map(|commit| {
        let changed =
            git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changed| !changed.is_empty());
        format!(" ({commit}{})", if changed { ", changed" } else { "" })
    });
    format!("{}{}", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default())
}

/// Processor and threads.
fn machine() -> String {
    let table = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {threads} threads")
}

/// The day, in UTC.
fn date() -> String {
    chrono::Utc::now().format("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_where_and_when() {
        let made = made();
        assert!(made.version.starts_with(env!("CARGO_PKG_VERSION")), "{made:?}");
        assert!(made.machine.ends_with(" threads"), "{made:?}");
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<&str> = made.date.split('-').collect();
        assert!(parts.len() == 3 && parts.iter().all(|part| digits(part)), "{made:?}");
    }
}
