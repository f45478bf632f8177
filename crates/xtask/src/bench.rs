//! `cargo xtask bench`

use crate::places::Places;
use crate::shell::{self, Failure};

/// Builds the command line with optimisation and runs its `bench` with the arguments as they are.
pub fn run(places: &Places, arguments: &[String]) -> Result<(), Failure> {
    let cargo = &mut places.cargo();
    // The paths among the arguments mean the folder that the user is in.
    if let Ok(here) = std::env::current_dir() {
        cargo.current_dir(here);
    }
    cargo.arg("run").arg("--release").arg("--manifest-path").arg(places.root.join("Cargo.toml"));
    shell::run(cargo.args(["--package", "stratune-cli", "--bin", "stratune", "--", "bench"]).args(arguments))
}
