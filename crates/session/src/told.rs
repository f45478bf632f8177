//! What of a text that is being written may be shown.

/// Text that was generated, and how much of it is certain not to be the beginning of a stop string.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    text: String,
    certain: usize,
    sent: usize,
    stop: Vec<String>,
}

impl Told {
    /// Of a text that ends before any of these.
    pub(crate) fn new(stop: &[String]) -> Self {
        Self { stop: stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(), ..Self::default() }
    }

    /// False when a stop string has come.
    pub(crate) fn add(&mut self, new: &str) -> bool {
        self.text.push_str(new);
        if let Some(at) = self.stop.iter().filter_map(|stop| self.text.find(stop.as_str())).min() {
            self.text.truncate(at);
            self.certain = at;
            return false;
        }
        let held = self.stop.iter().map(|stop| overlap(&self.text, stop)).max().unwrap_or(0);
        self.certain = self.text.len() - held;
        true
    }

    /// Nothing more comes: all is certain.
    pub(crate) fn end(&mut self) {
        self.certain = self.text.len();
    }

    /// What is certain and has not been shown; it counts as shown from now on.
    pub(crate) fn new_text(&mut self) -> String {
        let new = self.text.get(self.sent..self.certain).unwrap_or_default().to_string();
        self.sent = self.sent.max(self.certain);
        new
    }
}

/// Length of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().min(text.len() + 1);
    (1..longest).rev().find(|n| stop.is_char_boundary(*n) && text.ends_with(&stop[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_is_never_shown_even_in_pieces() {
        for pieces in [vec!["one", "\n", "\n", "two"], vec!["one\n\ntwo"], vec!["o", "n", "e", "\n", "\nx"]] {
            let mut told = Told::new(&["\n\n".to_string(), String::new()]);
            let mut shown = String::new();
            let went_on = pieces.iter().all(|piece| {
                let went_on = told.add(piece);
                shown += &told.new_text();
                went_on
            });
            assert!(!went_on);
            told.end();
            assert_eq!(shown + &told.new_text(), "one");
        }
    }

    #[test]
    fn what_was_held_back_for_a_stop_that_did_not_come_is_shown_at_the_end() {
        let mut told = Told::new(&["###".to_string()]);
        assert!(told.add("a##"));
        assert_eq!(told.new_text(), "a");
        told.end();
        assert_eq!((told.new_text(), told.new_text()), ("##".into(), String::new()));
    }
}
