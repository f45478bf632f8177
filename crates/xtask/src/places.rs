//! Where things are: the checkout, the build, the tools, the built page.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::Failure;

/// Where things are; all paths are absolute.
pub struct Places {
    /// The checkout.
    pub root: PathBuf,
    /// What cargo builds: `CARGO_TARGET_DIR`, or a folder in the user's cache that survives a new checkout.
    pub target: PathBuf,
    /// Tools of versions that the user's own are not.
    pub tools: PathBuf,
    /// The built page.
    pub dist: PathBuf,
}

impl Places {
    /// Finds them.
    pub fn find() -> Result<Self, Failure> {
        let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = here.as_deref().and_then(Path::parent).and_then(Path::parent).ok_or_else(|| {
            Failure::usage("the checkout is not known", "start this as `cargo xtask …` inside the checkout")
        })?;
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|d| !d.is_empty()) {
            Some(given) => std::path::absolute(given)
                .map_err(|e| Failure::usage(format!("CARGO_TARGET_DIR is no path: {e}"), "set it to a folder"))?,
            None => user_cache().map_or_else(|| root.join("target"), |cache| cache.join("stratune").join("target")),
        };
        Ok(Self { tools: target.join("tools"), dist: root.join("dist"), root: root.to_path_buf(), target })
    }

    /// A command that runs in the checkout, builds into [`target`](Self::target) and finds the tools first.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).env("PATH", self.path());
        command
    }

    /// The same for cargo: the one that started this.
    pub fn cargo(&self) -> Command {
        self.command(&env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
    }

    fn path(&self) -> OsString {
        let path = env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.tools.join("bin")).chain(env::split_paths(&path));
        env::join_paths(all).unwrap_or(path)
    }
}

/// Where this system keeps what can be made again.
fn user_cache() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || folder("HOME");
    if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library").join("Caches"))
    } else {
        folder("XDG_CACHE_HOME").or_else(|| home().map(|home| home.join(".cache")))
    }
}

/// The first file of this name in the folders of the PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(&file)).find(|path| path.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_and_its_tools() {
        let places = Places::find().unwrap();
        assert!(places.root.join("Cargo.lock").is_file(), "{:?}", places.root);
        assert!(places.target.is_absolute() && places.tools.starts_with(&places.target));
        let command = places.command("x");
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).unwrap();
        assert_eq!(env::split_paths(path).next().unwrap(), places.tools.join("bin"));
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(on_path("cargo").is_some());
        assert!(on_path("no-such-program-anywhere").is_none());
    }
}
