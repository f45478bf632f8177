//! How fast a text is written.

use std::fmt;
use std::time::{Duration, Instant};

/// Counts tokens as they come. The first one waits for the prompt to be read.
pub struct Pace {
    began: Instant,
    first: Duration,
    last: Duration,
    tokens: usize,
}

impl Pace {
    /// Nothing has come.
    pub fn start() -> Self {
        Self { began: Instant::now(), first: Duration::ZERO, last: Duration::ZERO, tokens: 0 }
    }

    /// A token has come.
    pub fn token(&mut self) {
        self.token_after(self.began.elapsed());
    }

    fn token_after(&mut self, time: Duration) {
        if self.tokens == 0 {
            self.first = time;
        }
        self.last = time;
        self.tokens += 1;
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tokens == 0 {
            return write!(f, "no token");
        }
        write!(f, "the first token after {:.2} s", self.first.as_secs_f64())?;
        let (more, seconds) = (self.tokens - 1, (self.last - self.first).as_secs_f64());
        if more > 0 && seconds > 0.0 {
            write!(f, ", then {more} at {:.1} tokens/s", more as f64 / seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_told_apart_from_the_others() {
        let mut pace = Pace::start();
        assert_eq!(pace.to_string(), "no token");
        pace.token_after(Duration::from_millis(3250));
        assert_eq!(pace.to_string(), "the first token after 3.25 s");
        for millis in [3500, 4000, 4500, 5250] {
            pace.token_after(Duration::from_millis(millis));
        }
        assert_eq!(pace.to_string(), "the first token after 3.25 s, then 4 at 2.0 tokens/s");
    }
}
