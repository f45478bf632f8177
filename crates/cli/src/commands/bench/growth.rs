//! How the cost of a token grows with the length of its row.

use serde::Serialize;

use super::series::mib;

/// A step with rows of one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Length {
    /// Tokens in a row.
    pub seq: usize,
    /// Tokens of a step.
    pub tokens: usize,
    /// Seconds of the median step.
    pub step_seconds: f64,
    /// Floating-point operations of a step, by formula.
    pub step_flops: f64,
    /// Bytes of a step at its peak, beside what was there before it.
    pub peak_bytes: f64,
}

/// A row of the table: the cost of a token, and how many times the shortest length's it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// What was measured.
    #[serde(flatten)]
    pub length: Length,
    /// Seconds of a token.
    pub token_seconds: f64,
    /// Operations of a token.
    pub token_flops: f64,
    /// Bytes of a token.
    pub token_bytes: f64,
    /// Times the first row's.
    pub seconds_ratio: f64,
    /// Times the first row's. Causal attention compares each token with those before it, so this grows by itself.
    pub flops_ratio: f64,
    /// Times the first row's.
    pub bytes_ratio: f64,
}

impl Growth {
    /// The rows of these lengths.
    pub fn of(lengths: &[Length]) -> Vec<Self> {
        let each = |l: &Length| [l.step_seconds, l.step_flops, l.peak_bytes].map(|x| x / l.tokens as f64);
        let first = lengths.first().map_or([f64::NAN; 3], each);
        let row = |length: &Length| {
            let [token_seconds, token_flops, token_bytes] = each(length);
            Self {
                length: length.clone(),
                token_seconds,
                token_flops,
                token_bytes,
                seconds_ratio: token_seconds / first[0],
                flops_ratio: token_flops / first[1],
                bytes_ratio: token_bytes / first[2],
            }
        };
        lengths.iter().map(row).collect()
    }

    /// The table's head.
    pub const HEAD: &str =
        "tokens in a row   step ms   µs a token       ×   MFLOP a token       ×   step MiB   KiB a token       ×";

    /// A row of the table.
    pub fn print(&self) {
        println!(
            "{:15}   {:7.1}   {:10.2}   {:5.3}   {:13.2}   {:5.3}   {:8.1}   {:11.2}   {:5.3}",
            self.length.seq,
            1e3 * self.length.step_seconds,
            1e6 * self.token_seconds,
            self.seconds_ratio,
            self.token_flops / 1e6,
            self.flops_ratio,
            mib(self.length.peak_bytes),
            self.token_bytes / 1024.0,
            self.bytes_ratio,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_growth_is_one_and_square_growth_is_the_ratio_of_the_lengths() {
        let length = |seq: usize| Length {
            seq,
            tokens: 2 * seq,
            step_seconds: 0.5 * seq as f64,
            step_flops: (seq * seq) as f64,
            peak_bytes: 8.0,
        };
        let rows = Growth::of(&[length(4), length(16)]);
        let ratios = |g: &Growth| [g.seconds_ratio, g.flops_ratio, g.bytes_ratio];
        assert_eq!(ratios(&rows[0]), [1.0; 3]);
        assert_eq!(ratios(&rows[1]), [1.0, 4.0, 0.25]);
        assert_eq!((rows[1].token_seconds, rows[1].token_flops, rows[1].token_bytes), (0.25, 8.0, 0.25));
    }
}
