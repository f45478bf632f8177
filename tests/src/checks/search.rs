//! A short search keeps its budget.

use std::rc::Rc;

use burn::tensor::Device;
use stratune_protocol::{SearchBy, SearchConfig};
use stratune_search::{Search, in_blocks};
use stratune_session::set_apart;
use stratune_train::{Identity, RunConfig, Trainer};

use crate::runs::{RecordingCallback, counting, small};

/// Numbers that the structure may train.
const BUDGET: u64 = 400;

/// Within eight steps a search for LoRA is at its end, and what it finds trains no more than that.
pub async fn a_search_keeps_its_budget(device: &Device) {
    let mut model = small(2, device);
    let report = model.config.report("small", 0);
    let search =
        SearchConfig { budget: BUDGET, sizes: vec![1, 4], prunings: 2, ..SearchConfig::preset(SearchBy::Bipeft) };
    let mut config = RunConfig { search: Some(search), ..RunConfig::default() };
    config.method.set(Some(4), |m| &mut m.rank);
    (config.train.steps, config.train.batch_size, config.train.eval_every) = (8, 4, 0);
    let config = in_blocks(config, &report);
    let search = Search::new(&config, &report).expect("a search");
    let (found, all) = (search.found(), search.space().all());
    model.attach(&config.method, config.train.seed).await.expect("methods that fit");
    let rows = set_apart(Rc::new(counting(24, 0)), &config).expect("rows to spare");
    let mut trainer = Trainer::new(config, model, rows, vec![Box::new(search)], Identity::default()).expect("a run");
    RecordingCallback::default().watch(&mut trainer).await.expect("a search to its end");
    let structure = found.structure().expect("a structure");
    let trains = structure.methods(&report).expect("modules of the model").trainable(&report);
    assert!(all > BUDGET && trains > 0 && trains <= BUDGET, "{trains} of {BUDGET} numbers, of {all} in all");
}
