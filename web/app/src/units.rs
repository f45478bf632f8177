//! Numbers as people read them: counts, sizes, times.

use stratune_protocol::{Bytes, scaled};

/// A count with a letter for its thousands, such as `6.9 M`.
pub fn count(n: u64) -> String {
    scaled(n, ["", " k", " M", " G", " T"])
}

/// A size, such as `27.6 MB`.
pub fn bytes(n: u64) -> String {
    Bytes(n).to_string()
}

/// A whole number with commas between its thousands.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A duration as a clock shows it: `1:52`, `1:02:03`. Unknown durations are a dash.
pub fn clock(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".into();
    }
    let s = seconds.round() as u64;
    let (hours, minutes, seconds) = (s / 3600, s / 60 % 60, s % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// How long something will take, such as `about 12 min`.
pub fn about(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".into();
    }
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 90.0 => format!("about {:.0} s", seconds.max(1.0)),
        0..90 => format!("about {minutes} min"),
        _ => format!("about {} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// How long ago, such as `3 min ago`.
pub fn ago(milliseconds: f64) -> String {
    let minutes = (milliseconds / 60_000.0).max(0.0) as u64;
    match minutes {
        0 => "less than a minute ago".into(),
        1..60 => format!("{minutes} min ago"),
        60..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

/// A loss with as many digits as can be told apart.
pub fn loss(value: f64) -> String {
    if !value.is_finite() {
        "not finite".into()
    } else if value.abs() >= 100.0 {
        format!("{value:.1}")
    } else if value.abs() >= 0.01 || value == 0.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.1e}")
    }
}

/// A share in per cent, with enough digits for small ones.
pub fn percent(share: f64) -> String {
    let p = 100.0 * share;
    if !p.is_finite() {
        "–".into()
    } else if p >= 9.95 || p == 0.0 {
        format!("{p:.0} %")
    } else if p >= 0.1 {
        format!("{p:.1} %")
    } else {
        format!("{p:.2} %")
    }
}

/// `1 row`, `2 rows`.
pub fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n as u64), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sizes() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0 k"),
            (27_648, "27.6 k"),
            (6_900_000, "6.9 M"),
            (999_960, "1.0 M"),
            (134_515_008, "135 M"),
        ] {
            assert_eq!(count(n), text);
        }
        assert_eq!(bytes(27_600_000), "27.6 MB");
        assert_eq!(bytes(12), "12 B");
        for (n, text) in [(0, "0"), (999, "999"), (1240, "1,240"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn times() {
        for (s, text) in [(0.2, "0:00"), (112.0, "1:52"), (3723.0, "1:02:03"), (f64::NAN, "–"), (-1.0, "–")] {
            assert_eq!(clock(s), text);
        }
        for (s, text) in [
            (0.2, "about 1 s"),
            (89.0, "about 89 s"),
            (91.0, "about 2 min"),
            (720.0, "about 12 min"),
            (5400.0, "about 1 h 30 min"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(about(s), text);
        }
        for (ms, text) in [
            (-5.0, "less than a minute ago"),
            (59_000.0, "less than a minute ago"),
            (180_000.0, "3 min ago"),
            (7_200_000.0, "2 h ago"),
            (200_000_000.0, "2 days ago"),
        ] {
            assert_eq!(ago(ms), text);
        }
    }

    #[test]
    fn losses_and_shares() {
        for (v, text) in [(2.34567, "2.346"), (123.456, "123.5"), (0.00123, "1.2e-3"), (f64::NAN, "not finite")] {
            assert_eq!(loss(v), text);
        }
        for (v, text) in [(0.25, "25 %"), (0.0042, "0.4 %"), (0.000_42, "0.04 %"), (0.0, "0 %"), (f64::NAN, "–")] {
            assert_eq!(percent(v), text);
        }
        assert_eq!(plural(1, "row", "rows"), "1 row");
        assert_eq!(plural(2000, "row", "rows"), "2,000 rows");
    }
}
