//! The worker that asks the Hugging Face hub: started for the first command, and not before.

use js_sys::Array;
use stratune_protocol::{HubCommand, HubEvent, Problem, ProblemKind};
use wasm_bindgen::JsCast;
use web_sys::File;

use super::files::Picked;
use super::worker::{Port, field};

/// What comes from the worker.
pub enum Heard {
    /// It listens.
    Up,
    /// An event, and the files that it names.
    Event(HubEvent, Vec<Picked>),
    /// It is no more, and why.
    Died(String),
}

/// The worker; dropping it ends what it does.
pub struct HubWorker(Port);

impl HubWorker {
    /// Starts it; `hear` is called with everything that comes from it.
    pub fn start(hear: impl Fn(Heard) + Clone + 'static) -> Result<Self, Problem> {
        let died = hear.clone();
        let heard = move |data: wasm_bindgen::JsValue| {
            if data.as_string().is_some() {
                return hear(Heard::Up);
            }
            let event = serde_json::from_str(&field(&data, "json").as_string().unwrap_or_default());
            let event = event.unwrap_or_else(|e| HubEvent::Problem(unknown(format!("the hub's worker said: {e}"))));
            let files = field(&data, "files").dyn_into::<Array>().unwrap_or_default();
            let files: Vec<File> = files.iter().filter_map(|file| file.dyn_into().ok()).collect();
            let picked = match &event {
                HubEvent::Files { files: assets, .. } => {
                    let pairs = assets.iter().zip(files);
                    pairs.map(|(asset, file)| Picked { path: asset.name.clone(), file }).collect()
                }
                _ => Vec::new(),
            };
            hear(Heard::Event(event, picked));
        };
        Port::start("./hub_loader.js", heard, move |reason| died(Heard::Died(reason))).map(Self)
    }

    /// Sends a command.
    pub fn send(&self, command: &HubCommand) -> Result<(), Problem> {
        let json = serde_json::to_string(command).map_err(|e| unknown(format!("a command cannot be written: {e}")))?;
        self.0.post(&json.into())
    }
}

fn unknown(what: String) -> Problem {
    Problem::new(ProblemKind::Internal, what).next("reload the page: what has come is kept")
}
