//! Sizes as people read them.

use std::fmt;

/// A number of bytes, such as `27.6 MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&scaled(self.0, [" B", " kB", " MB", " GB", " TB"]))
    }
}

/// A number in three digits or so, with the unit of its thousands.
pub fn scaled(n: u64, units: [&str; 5]) -> String {
    let (mut n, mut unit) = (n as f64, 0);
    // 999.95 would be shown as 1000.0.
    while n >= 999.95 && unit + 1 < units.len() {
        n /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && n < 99.95);
    format!("{n:.digits$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (27_600_000, "27.6 MB"),
            (134_515_008, "135 MB"),
            (999_960_000, "1.0 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(Bytes(n).to_string(), text);
        }
    }
}
