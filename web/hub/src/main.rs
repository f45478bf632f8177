//! The Hugging Face hub in a worker of its own, so that a download neither waits for the engine nor keeps it waiting. It is
//! started when a person asks for something kept or to be fetched, and not before.
//!
//! The page posts the JSON of a [`HubCommand`](stratune_protocol::HubCommand). The worker posts the string `up` when it
//! listens, then `{ json, files? }`: a [`HubEvent`](stratune_protocol::HubEvent) and the files that it names, as the browser
//! hands them out: the page gives them to the engine as it gives it files that a person dropped.

#[cfg(target_family = "wasm")]
mod fetch;
#[cfg(any(target_family = "wasm", test))]
mod manifest;
#[cfg(target_family = "wasm")]
mod port;
#[cfg(target_family = "wasm")]
mod shelf;
#[cfg(target_family = "wasm")]
mod work;

fn main() {
    #[cfg(target_family = "wasm")]
    work::start();
}
