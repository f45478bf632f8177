//! How fast a text is written.

use std::fmt;
use std::time::{Duration, Instant};

/// Counts tokens as they come. The first one waits for the prompt to be read.
pub struct Pace {
    began: Instant,
    first: Option<Duration>,
    tokens: usize,
}

impl Pace {
    /// Nothing has come.
    pub fn start() -> Self {
        Self { began: Instant::now(), first: None, tokens: 0 }
    }

    /// A token has come.
    pub fn token(&mut self) {
        self.first.get_or_insert_with(|| self.began.elapsed());
        self.tokens += 1;
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.first else { return write!(f, "no token") };
        write!(f, "the first token after {:.2} s", first.as_secs_f64())?;
        let (more, seconds) = (self.tokens - 1, (self.began.elapsed() - first).as_secs_f64());
        if more > 0 && seconds > 0.0 {
            write!(f, ", then {more} at {:.1} tokens/s", more as f64 / seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_told_apart_from_the_others() {
        let mut pace = Pace::start();
        assert_eq!(pace.to_string(), "no token");
        pace.began -= Duration::from_secs(3);
        pace.token();
        assert!(pace.to_string().starts_with("the first token after 3.0"), "{pace}");
        pace.began -= Duration::from_secs(2);
        (0..4).for_each(|_| pace.token());
        let said = pace.to_string();
        let (_, rate) = said.rsplit_once("then 4 at ").unwrap();
        // Four tokens in two seconds and what this test took.
        let rate: f64 = rate.trim_end_matches(" tokens/s").parse().unwrap();
        assert!((1.5..=2.0).contains(&rate), "{said}");
    }
}
