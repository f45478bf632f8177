//! `cargo xtask bench`: the command line's, or that of the engine in a tab, or of the page.

use std::path::Path;

use crate::places::Places;
use crate::shell::{self, Failure};
use crate::test;

/// Builds the command line with optimisation and runs its `bench` with the arguments as they are.
/// `tab` times a step of a small model in a browser instead, on the CPU and on WebGPU; `page` and a model's folder say what
/// the page holds in memory while it reads the model into 4 bits and trains it.
pub fn run(places: &Places, arguments: &[String]) -> Result<(), Failure> {
    if arguments == ["tab"] {
        return test::speed_in_tab(places);
    }
    if let [page, folder] = arguments
        && page == "page"
    {
        let folder =
            Path::new(folder).canonicalize().map_err(|e| Failure::usage(format!("{folder}: {e}"), "name a folder"))?;
        return test::memory_of_page(places, &folder);
    }
    let cargo = &mut places.cargo();
    // The paths among the arguments mean the folder that the user is in.
    if let Ok(here) = std::env::current_dir() {
        cargo.current_dir(here);
    }
    cargo.arg("run").arg("--release").arg("--manifest-path").arg(places.root.join("Cargo.toml"));
    shell::run(cargo.args(["--package", "stratune-cli", "--bin", "stratune", "--", "bench"]).args(arguments))
}
