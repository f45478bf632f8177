//! The page's run, outside of the page.

use std::rc::Rc;

use stratune_data::{SourceFile, load};
use stratune_protocol::{BaseDtype, DeviceChoice, IstConfig, IstMode};
use stratune_session::{Base, open_device, trainer};
use stratune_store::DiskFolder;
use stratune_tests::runs::RecordingCallback;
use stratune_train::{Event, RunConfig};

const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/session/assets/starter");

/// The last validation loss of a run on `rows` with the page's settings.
pub async fn validation_loss(rows: &str, steps: usize, interval: usize, base_dtype: BaseDtype) -> f64 {
    let mut config = RunConfig { ist: IstConfig::preset(IstMode::Scored), base_dtype, ..RunConfig::default() };
    config.ist.interval = interval;
    config.train.learning_rate = 5e-3;
    config.train.steps = steps;
    config.train.checkpoint_every = 0;
    config.train.sample_prompts = vec!["none".into()];
    let opened = open_device(DeviceChoice::Cpu).await.unwrap();
    let folder = Rc::new(DiskFolder::new(STARTER).unwrap());
    let base = Base::load(folder, "starter", config.base_dtype.into(), &opened.device, &mut |_| {}).await.unwrap();
    let file = SourceFile { name: "rows.jsonl".into(), bytes: rows.as_bytes().to_vec(), held_out: false };
    let dataset = load(&[file], &config.data, &base.tokenizer, base.context(), config.train.seed).unwrap();
    let mut run = trainer(config, &base, Rc::new(dataset), None).await.unwrap();
    let mut recording = RecordingCallback::default();
    recording.watch(&mut run).await.unwrap();
    let mut validations = recording.events.iter().filter_map(|e| match e {
        Event::Validation { loss, .. } => Some(*loss),
        _ => None,
    });
    validations.next_back().unwrap()
}
