//! `cargo xtask bench`: the command line's, or that of the engine in a tab, or of the page.

use std::path::Path;

use crate::places::Places;
use crate::shell::{self, Failure};
use crate::test;

/// Builds the command line with optimisation and runs its `bench` with the arguments as they are.
/// `tab` times a step of a small model in a browser instead, on the CPU and on WebGPU; `page` and a model say what
/// the page holds in memory while it reads and trains it: a folder's on WebGPU in 4 bits, a GGUF file's on the CPU as it is.
pub fn run(places: &Places, arguments: &[String]) -> Result<(), Failure> {
    if arguments == ["tab"] {
        return test::speed_in_tab(places);
    }
    if let [page, model] = arguments
        && page == "page"
    {
        let next = "name a model's folder, or a GGUF file";
        let model = Path::new(model).canonicalize().map_err(|e| Failure::usage(format!("{model}: {e}"), next))?;
        return test::page_with_model(places, &model);
    }
    let cargo = &mut places.cargo();
    // The paths among the arguments mean the folder that the user is in.
    if let Ok(here) = std::env::current_dir() {
        cargo.current_dir(here);
    }
    cargo.arg("run").arg("--release").arg("--manifest-path").arg(places.root.join("Cargo.toml"));
    shell::run(cargo.args(["--package", "stratune-cli", "--bin", "stratune", "--", "bench"]).args(arguments))
}
