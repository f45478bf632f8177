//! The table of families in the documentation is the lists that the tests walk.

use std::path::Path;

use stratune_tests::families::table;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/models/README.md");
const BEGIN: &str = "<!-- cargo xtask families writes this table -->\n\n";
const END: &str = "\n<!-- to here -->";

/// `cargo xtask families` sets the variable.
#[test]
fn the_table_is_in_the_documentation() {
    let text = std::fs::read_to_string(README).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (there, after) = rest.split_once(END).expect("where the table ends");
    let table = table();
    if std::env::var_os("STRATUNE_WRITE_TABLES").is_some() {
        let beside = Path::new(README).with_extension("md.new");
        std::fs::write(&beside, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        std::fs::rename(beside, README).unwrap();
        println!("{table}");
        return;
    }
    assert!(there == table, "`cargo xtask families` writes it anew:\n{table}");
}
