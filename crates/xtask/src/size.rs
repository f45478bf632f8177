//! How much the page makes a browser download, and the most that it may.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::places::Places;
use crate::shell::Failure;

/// A file and the most bytes that it may have when a server packs it by gzip. Brotli makes about a third less of the engines,
/// and takes minutes for it.
struct Budget {
    file: &'static str,
    gzip: usize,
}

/// Where a file is above what it should be, its budget is what it measured and 3 % more.
const BUDGETS: [Budget; 5] = [
    // Should be 300 kB: 443 kB were measured; 396 before the search under a budget and images, 371
    // before labels of texts, 340 before the hub's part of two cards and conversations.
    Budget { file: "stratune-app_bg.wasm", gzip: 456_000 },
    // The hub in its worker, loaded when it is asked for: 219 kB were measured.
    Budget { file: "hub_bg.wasm", gzip: 225_000 },
    // Should be 4 MB: 3,543 kB were measured, 3,323 before images and all that searches, 3,134 before encoders and T5.
    Budget { file: "engine_cpu_bg.wasm", gzip: 4_000_000 },
    // Should be 4 MB: 6,234 kB were measured, 6,014 before images and all that searches, 5,816 before
    // encoders and T5, 5,334 before GGUF, four families, and what is taken away.
    Budget { file: "engine_gpu_bg.wasm", gzip: 6_421_000 },
    // Only for compressed files, Parquet and images: 385 kB were measured, 312 before images.
    Budget { file: "unpack_bg.wasm", gzip: 397_000 },
];

/// Prints the sizes of the built page and refuses one above its budget. Where gzip is not installed, none is checked.
pub fn check(places: &Places) -> Result<(), Failure> {
    let mut above = String::new();
    for Budget { file, gzip } in BUDGETS {
        let path = places.dist.join(file);
        let plain = fs::metadata(&path).map_err(|e| Failure {
            what: format!("{} cannot be read: {e}", path.display()),
            next: "build the page with `cargo xtask web --no-serve`".into(),
            code: 1,
        })?;
        let plain = plain.len() / 1000;
        match packed("gzip", &path) {
            None => println!("{file}: {plain} kB; gzip is not installed, so its packed size is not checked"),
            Some(size) => {
                println!("{file}: {plain} kB, {} kB by gzip, at most {} kB", size / 1000, gzip / 1000);
                if size > gzip {
                    let _ = write!(above, "{file} has {size} bytes by gzip and may have {gzip}; ");
                }
            }
        }
    }
    if above.is_empty() {
        return Ok(());
    }
    let next = "look for what has grown, or raise its budget in crates/xtask/src/size.rs".into();
    Err(Failure { what: above, next, code: 1 })
}

/// Bytes that `packer` makes of a file at its best.
fn packed(packer: &str, path: &Path) -> Option<usize> {
    let output = Command::new(packer).args(["--best", "--stdout"]).arg(path).output().ok()?;
    output.status.success().then_some(output.stdout.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn zeros_pack_to_less_and_a_packer_that_is_not_there_is_no_error() {
        let path = std::env::temp_dir().join(format!("stratune-size-{}", std::process::id()));
        fs::write(&path, vec![0; 100_000]).unwrap();
        // gzip is not on every system; where it is, a run of one byte packs to a thousandth.
        if let Some(size) = packed("gzip", &path) {
            assert!((1..1000).contains(&size), "{size}");
        }
        assert_eq!(packed("no-such-program-anywhere", &path), None);
        fs::remove_file(path).unwrap();
    }
}
