//! From a budget to a structure, and from a structure to a run.

use leptos::prelude::*;
use leptos::task::spawn_local;
use stratune_protocol::{Budget, BudgetUnit, IstMode, Problem, StructureReport, Values};
use wasm_bindgen_futures::JsFuture;

use super::run::{Card, Run};
use super::search::{SEARCH, is_search, set_budget, share};
use super::settings::{Command, MODE, Settings};
use crate::bridge::browser;
use crate::bridge::files::Picked;

/// Of all numbers, what a search begins with: per cent.
const USUAL: u64 = 10;

/// What a structure's file is called.
pub const STRUCTURE_JSON: &str = "structure.json";

impl Run {
    /// Whether the next run is a search.
    pub fn searches(self) -> bool {
        self.config.with(is_search)
    }

    /// Whether the methods of the next run are those of the structure that was found or read last.
    pub fn has_structure(self) -> bool {
        self.structure.with(|s| {
            let methods = |s: &StructureReport| self.config.with(|c| c.methods() == s.methods && !is_search(c));
            s.as_ref().is_some_and(methods)
        })
    }

    /// Makes the next run a search among all that the first space has.
    pub fn search_instead(self) {
        let Some(begin) = self.catalogue.with_untracked(|c| c.search.begin.as_object().cloned()) else { return };
        self.keep_methods();
        self.config.update(|c| c.set(SEARCH, Some(begin.into())));
        self.choose_space(0);
    }

    /// Searches among what a space has; the budget is a share of that.
    pub fn choose_space(self, index: usize) {
        let space = self.catalogue.with_untracked(|c| c.search.spaces.get(index).cloned());
        let all = self.choices.with_untracked(|c| c.as_ref().and_then(|c| c.spaces.get(index).copied()));
        self.config.update(|c| {
            if let Some(space) = space {
                c.put_all(&space.values);
            }
            if let Some(all) = all.filter(|all| *all > 0) {
                set_budget(c, Budget { amount: share(all, USUAL), unit: BudgetUnit::Numbers });
            }
        });
    }

    /// Makes the next run train the methods that were chosen before a search or a structure.
    pub fn train_a_method(self) {
        let before = self.before_structure.get_value();
        let first = || {
            let first = self.catalogue.with_untracked(|c| c.methods.iter().find(|m| !m.methods.is_empty()).cloned());
            first.map(|first| Values::from([("method".to_string(), first.methods.into())]))
        };
        self.before_structure.set_value(None);
        self.config.update(|c| {
            c.set(SEARCH, None);
            c.put_all(&before.or_else(first).unwrap_or_default());
        });
    }

    /// What is chosen now is there again when neither a search nor a structure is wanted.
    fn keep_methods(self) {
        if !untrack(|| self.searches() || self.has_structure()) {
            let of = |c: &Settings| ["method", "ist"].map(|name| Some((name.to_string(), c.get(name)?.clone())));
            let values = self.config.with_untracked(of).into_iter().flatten().collect();
            self.before_structure.set_value(Some(values));
        }
    }

    /// A structure that was found, or read from a file: that becomes the method.
    pub(super) fn take_structure(self, structure: StructureReport) {
        let is_read = !structure.file.is_empty();
        if is_read {
            self.keep_methods();
        }
        self.structure.set(Some(structure));
        if is_read {
            self.use_structure();
        }
    }

    /// Makes the structure the method of the next run.
    pub fn use_structure(self) {
        let Some(methods) = self.structure.with_untracked(|s| s.as_ref().map(|s| s.methods.clone())) else { return };
        self.config.update(|c| {
            c.set(SEARCH, None);
            c.put("method", methods.into());
        });
        // It may leave a layer without a module, and then there is nothing for IST to choose there.
        self.choose(MODE, serde_json::to_value(IstMode::All).unwrap_or_default());
        self.open.set(Some(Card::Method));
    }

    /// Has a structure's file read.
    pub fn choose_structure(self, picked: Vec<Picked>) {
        let Some(Picked { path, file }) = picked.into_iter().next() else { return };
        spawn_local(async move {
            match JsFuture::from(file.text()).await.ok().and_then(|text| text.as_string()) {
                Some(text) => self.send(&Command::ReadStructure { name: path, text }, &[]),
                None => self.alert(Problem::input("the file cannot be read").at(path).next("choose it again"), None),
            }
        });
    }

    /// Hands the structure out as a file.
    pub fn download_structure(self) {
        let Some(text) = self.structure.with_untracked(|s| s.as_ref().map(|s| s.text.clone())) else { return };
        let bytes = js_sys::Uint8Array::from(text.as_bytes());
        let file = browser::blob("application/json", Some(&bytes));
        if file.and_then(|file| browser::download(STRUCTURE_JSON, &file)).is_none() {
            let problem = Problem::input("the browser refused the download").at(STRUCTURE_JSON);
            self.alert(problem.next("allow downloads for this page and try again"), None);
        }
    }

    /// The model is another: what is a structure on it has to be read again.
    pub(super) fn leave_structure(self) {
        if untrack(|| self.has_structure()) {
            self.train_a_method();
        }
        self.structure.set(None);
    }
}
