//! What the environment says of the hub, by the same variables as huggingface_hub.

use std::ffi::OsString;
use std::path::PathBuf;

use stratune_protocol::Problem;

use crate::client::Token;

const ENDPOINT: &str = "https://huggingface.co";

/// Where the hub is, where its files are kept, and whether it may be asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's address: `HF_ENDPOINT`, else huggingface.co.
    pub endpoint: String,
    /// `HF_TOKEN`, else the file `HF_TOKEN_PATH` or `$HF_HOME/token`, which `hf auth login` writes.
    pub token: Option<Token>,
    /// `HF_HUB_CACHE`, else `$HF_HOME/hub`.
    pub cache: PathBuf,
    /// Whether `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is set: then nothing is asked.
    pub offline: bool,
}

impl Settings {
    /// What this process's environment says.
    ///
    /// # Errors
    /// There is no place for a cache, or the token cannot be one.
    pub fn from_environment() -> Result<Self, Problem> {
        Self::read(&|name| std::env::var_os(name))
    }

    fn read(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Problem> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_true = |name: &str| {
            let value = set(name).and_then(|value| value.into_string().ok()).unwrap_or_default().to_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let user = set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
        let path = |name: &str| {
            let path = PathBuf::from(set(name)?);
            match (path.strip_prefix("~"), &user) {
                (Ok(rest), Some(user)) => Some(user.join(rest)),
                (Ok(_) | Err(_), _) => Some(path),
            }
        };
        let caches = || path("XDG_CACHE_HOME").or_else(|| Some(user.as_ref()?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| {
            Problem::input("there is no home folder to keep models in").next("set HF_HUB_CACHE to a folder")
        })?;
        let text = |name: &str| -> Result<Option<String>, Problem> {
            let bad = |_| Problem::input("the variable is not UTF-8").at(name).next("set it again");
            set(name).map(|value| value.into_string().map_err(bad)).transpose()
        };
        let token = match text("HF_TOKEN")? {
            _ if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some(token) => Token::new(&token).map_err(|problem| problem.at("HF_TOKEN"))?,
            None => match path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token"))) {
                Some(file) => std::fs::read_to_string(&file)
                    .map_or(Ok(None), |token| Token::new(&token).map_err(|p| p.at(file.display().to_string())))?,
                None => None,
            },
        };
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.into());
        let offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE");
        Ok(Self { endpoint, token, cache, offline })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Problem> {
        Settings::read(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_cache_is_where_other_tools_have_it() {
        for (variables, cache) in [
            (vec![("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/f")], "/h/f/hub"),
            (vec![("HF_HOME", "/f"), ("HF_HUB_CACHE", "")], "/f/hub"),
            (vec![("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (vec![("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/c")], "/c"),
        ] {
            assert_eq!(read(&variables).unwrap().cache, Path::new(cache), "{variables:?}");
        }
        assert!(read(&[]).unwrap_err().next.contains("HF_HUB_CACHE"));
    }

    #[test]
    fn a_token_is_found_in_its_places() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        std::fs::write(dir.path().join("other"), "hf_other").unwrap();
        let (home, other) = (dir.path().to_str().unwrap(), dir.path().join("other"));
        let other = other.to_str().unwrap();
        for (variables, token) in [
            (vec![("HF_HOME", home)], "hf_file"),
            (vec![("HF_HOME", home), ("HF_TOKEN_PATH", other)], "hf_other"),
            (vec![("HF_HOME", home), ("HF_TOKEN", " hf_set ")], "hf_set"),
            (vec![("HF_HOME", home), ("HF_TOKEN", "hf_set"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], ""),
            (vec![("HF_HOME", "/none")], ""),
        ] {
            assert_eq!(read(&variables).unwrap().token, Token::new(token).unwrap(), "{variables:?}");
        }
        assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN", "a b")]).unwrap_err().at, "HF_TOKEN");
    }

    #[test]
    fn offline_and_endpoint_are_heeded() {
        let settings = read(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "true"), ("HF_ENDPOINT", "http://mirror")]).unwrap();
        assert_eq!((settings.offline, settings.endpoint.as_str()), (true, "http://mirror"));
        let settings = read(&[("HOME", "/h"), ("TRANSFORMERS_OFFLINE", "0"), ("HF_HUB_OFFLINE", "no")]).unwrap();
        assert_eq!((settings.offline, settings.endpoint.as_str()), (false, ENDPOINT));
    }
}
