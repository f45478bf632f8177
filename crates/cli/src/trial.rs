//! What commands that compare runs begin with: a model, rows to train on, and rows that no run trains on.

use std::rc::Rc;

use stratune_data::{Dataset, SourceFile, read_rows};
use stratune_protocol::{DeviceChoice, Problem};
use stratune_runtime::Opened;
use stratune_session::{Base, EvalSet, read_dataset};
use stratune_train::RunConfig;

use crate::open;

/// A model and the rows of its runs.
pub struct Trial {
    /// The device.
    pub opened: Opened,
    /// The model.
    pub base: Base,
    /// The rows that no run trains on.
    pub eval_set: EvalSet,
    /// Held-out loss of the model as it is.
    pub before: f64,
    files: Vec<SourceFile>,
}

impl Trial {
    /// Opens what `config` names; without data that is the example, without a device the CPU, whose memory can be measured.
    ///
    /// # Errors
    /// Something cannot be opened; names it.
    pub async fn open(
        config: &mut RunConfig,
        device: Option<DeviceChoice>,
        held_out: &str,
        json: bool,
    ) -> Result<Self, Problem> {
        if config.data.files.is_empty() {
            config.data.files = vec!["example".into()];
        }
        let opened = open::device(device.unwrap_or(DeviceChoice::Cpu), json).await?;
        let base = open::base(&config.model, config.base_dtype, &opened, json).await?;
        let files = open::data(&config.data)?;
        let held_out = read_rows(&open::files(&[held_out.to_string()])?, &config.data)?;
        let max_length = config.data.max_length.min(base.context());
        let eval_set = EvalSet::new(&held_out, &base.tokenizer, &base.template, max_length)?;
        let before = eval_set.loss(&base.model, (&config.train).into()).await?;
        Ok(Self { opened, base, eval_set, before, files })
    }

    /// The rows to train on, split with the run's seed.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn dataset(&self, config: &RunConfig) -> Result<Rc<Dataset>, Problem> {
        let base = &self.base;
        Ok(Rc::new(read_dataset(&self.files, config, base, base.context())?))
    }
}
