//! `cargo xtask web`

use std::process::Command;

use crate::places::Places;
use crate::shell::{self, Failure};
use crate::tools;

/// Installs what is missing, builds the page and serves it.
pub fn run(places: &Places, arguments: &[String]) -> Result<(), Failure> {
    let Wanted { port, serve } = Wanted::read(arguments)?;
    prepare(places)?;
    if !serve {
        build(places)?;
        println!("the page is in {}", places.dist.display());
        return Ok(());
    }
    println!("building; the page will then be at http://127.0.0.1:{port}/");
    shell::run(trunk(places).args(["serve", "--release", "--address", "127.0.0.1", "--port"]).arg(port.to_string()))
}

/// Makes sure of all that the page is built with.
pub fn prepare(places: &Places) -> Result<(), Failure> {
    tools::wasm_target(places)?;
    tools::wasm_bindgen(places)?;
    tools::trunk(places)
}

/// Builds the page into [`Places::dist`].
pub fn build(places: &Places) -> Result<(), Failure> {
    shell::run(trunk(places).args(["build", "--release", "--dist"]).arg(&places.dist))
}

fn trunk(places: &Places) -> Command {
    let mut command = places.command("trunk");
    // Trunk wants `true` or `false` in NO_COLOR, where the custom is any text at all.
    command.arg("--skip-version-check").env_remove("NO_COLOR");
    command
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    port: u16,
    serve: bool,
}

impl Wanted {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let mut wanted = Self { port: 8080, serve: true };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--no-serve" => wanted.serve = false,
                "--port" => {
                    let given = rest.next().map_or("nothing", String::as_str);
                    wanted.port = given.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                        Failure::usage(format!("--port: {given} is no port"), "give a number from 1 to 65535")
                    })?;
                }
                other => {
                    let next = "use --port NUMBER and --no-serve";
                    return Err(Failure::usage(format!("web does not know '{other}'"), next));
                }
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let read = |text: &str| Wanted::read(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        assert_eq!(read("").unwrap(), Wanted { port: 8080, serve: true });
        assert_eq!(read("--port 9000 --no-serve").unwrap(), Wanted { port: 9000, serve: false });
        for bad in ["--port", "--port 0", "--port 70000", "--prot 1"] {
            assert_eq!(read(bad).unwrap_err().code, 2, "{bad}");
        }
    }
}
