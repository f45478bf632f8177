//! The messages at the top of the page.

use stratune_protocol::Problem;

/// What a message offers to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Compute on the software GPU after all.
    SoftwareGpu,
    /// Start the engine again.
    Restart,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Tells messages apart.
    pub id: u32,
    /// What happened.
    pub what: String,
    /// Where; empty if nowhere.
    pub at: String,
    /// What to do next; empty if nothing.
    pub next: String,
    /// Whether something is wrong.
    pub alert: bool,
    /// What it offers.
    pub offer: Option<Offer>,
}

/// All messages that have not been dismissed, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notices {
    list: Vec<Notice>,
    last_id: u32,
}

/// Older messages leave when there are more than this.
const MAX: usize = 5;

impl Notices {
    /// The messages.
    pub fn list(&self) -> &[Notice] {
        &self.list
    }

    /// Adds a message; one that says the same as an older one takes its place.
    pub fn add(&mut self, problem: Problem, alert: bool, offer: Option<Offer>) {
        self.last_id += 1;
        let Problem { what, at, next, .. } = problem;
        self.list.retain(|n| n.what != what || n.at != at);
        self.list.push(Notice { id: self.last_id, what, at, next, alert, offer });
        self.list.drain(..self.list.len().saturating_sub(MAX));
    }

    /// Removes a message.
    pub fn dismiss(&mut self, id: u32) {
        self.list.retain(|n| n.id != id);
    }

    /// Removes what is wrong no longer, before a new attempt.
    pub fn clear_alerts(&mut self) {
        self.list.retain(|n| !n.alert);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_replace_and_old_ones_leave() {
        let mut notices = Notices::default();
        notices.add(Problem::input("same").at("row 1").next("a"), true, None);
        notices.add(Problem::input("same").at("row 1").next("b"), true, None);
        notices.add(Problem::input("same").at("row 2"), false, None);
        assert_eq!(notices.list().iter().map(|n| (n.id, n.next.as_str())).collect::<Vec<_>>(), [(2, "b"), (3, "")]);
        notices.dismiss(3);
        assert_eq!(notices.list().len(), 1);
        notices.clear_alerts();
        assert!(notices.list().is_empty());
        for i in 0..9 {
            notices.add(Problem::input(i.to_string()), false, None);
        }
        assert_eq!((notices.list().len(), notices.list()[0].what.as_str()), (MAX, "4"));
    }
}
