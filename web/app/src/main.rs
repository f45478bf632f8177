//! Stratune's page: what a person sees. The engine runs in a worker; see `bridge::worker` for how they talk.

mod bridge;
mod pages;
mod parts;
mod state;
mod units;

use leptos::prelude::*;

fn main() {
    console_error_panic_hook::set_once();
    if let Some(starting) = document().get_element_by_id("starting") {
        starting.remove();
    }
    mount_to_body(pages::Page);
}
