//! The browser that tests run in: Chromium with its driver; and a Vulkan driver for the GPU tests outside of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::places::on_path;
use crate::shell::{self, Failure};

/// Names that Chromium and Chrome go by.
const BROWSERS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// Where the Vulkan loader of Linux looks for drivers.
const VULKAN_DRIVERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// Chromium's driver: `CHROMEDRIVER`, or the one on the PATH.
pub fn chromedriver() -> Option<PathBuf> {
    match std::env::var_os("CHROMEDRIVER") {
        Some(given) => Some(PathBuf::from(given)).filter(|path| path.is_file()),
        None => on_path("chromedriver"),
    }
}

/// Makes sure of a Vulkan driver on Linux; elsewhere the system brings a GPU interface.
pub fn ensure_vulkan() -> Result<(), Failure> {
    let has_driver = |dir| Path::new(dir).read_dir().is_ok_and(|mut files| files.next().is_some());
    let there = || !cfg!(target_os = "linux") || VULKAN_DRIVERS.into_iter().any(has_driver);
    ensure(there, &["mesa-vulkan-drivers"], "a Vulkan driver (Mesa's software one will do)")
}

/// Makes sure of Chromium and its driver.
pub fn ensure_chromium() -> Result<(), Failure> {
    // Outside of Linux browsers are not on the PATH, and the driver knows where to look for them.
    let browser = || !cfg!(target_os = "linux") || BROWSERS.into_iter().any(|name| on_path(name).is_some());
    let there = || browser() && chromedriver().is_some();
    ensure(there, &["chromium", "chromium-driver"], "Chromium or Chrome, and the chromedriver of the same version")
}

/// Installs Debian packages unless what they bring is there, or says what to install.
fn ensure(there: impl Fn() -> bool, packages: &[&str], what: &str) -> Result<(), Failure> {
    if there() {
        return Ok(());
    }
    if let Some(apt) = apt() {
        shell::step(&format!("install {}", packages.join(", ")), || {
            shell::run(apt().arg("update").arg("-qq"))?;
            shell::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
        })?;
        if there() {
            return Ok(());
        }
    }
    let next = if cfg!(target_os = "linux") {
        format!("on Debian: sudo apt-get install {}\nelsewhere: install {what}, on the PATH", packages.join(" "))
    } else {
        format!("install {what}; put chromedriver on the PATH or its path into CHROMEDRIVER")
    };
    Err(Failure::usage(format!("the tests need {what}"), next))
}

/// `apt-get`, where there is one and it may be used without a password.
fn apt() -> Option<impl Fn() -> Command> {
    on_path("apt-get")?;
    let root = shell::output(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if !root {
        shell::output(Command::new("sudo").args(["-n", "true"]))?;
    }
    Some(move || {
        let mut command = Command::new(if root { "env" } else { "sudo" });
        if !root {
            command.args(["-n", "env"]);
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed() {
        ensure(|| true, &["no-such-package"], "nothing").unwrap();
    }
}
