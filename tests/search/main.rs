//! Structures and the search for them: what a structure's file becomes, and what searchers must demonstrably do.

mod autopeft;
mod front;
mod gates;
mod planted;
mod prior;
mod resume;
mod searchers;
mod settings;
mod structure;
mod under_ist;

use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::Sequence;
use stratune_models::Model;
use stratune_peft::MethodNames;
use stratune_protocol::{ModelReport, Schedule, SearchBy, SearchConfig};
use stratune_runtime::block_on;
use stratune_search::{Found, Search, in_blocks};
use stratune_session::set_apart;
use stratune_tests::runs::{counting, small};
use stratune_train::{Batching, Identity, NextToken, RunConfig, Trainer, evaluate};

/// Blocks of the models here.
const LAYERS: usize = 2;

fn report() -> ModelReport {
    small(LAYERS, &Device::flex()).config.report("small", 0)
}

/// A model that has something to learn: its embeddings are large enough that it is sure of what it says, and wrong.
fn lively() -> Model {
    let mut model = small(LAYERS, &Device::flex());
    let table = model.embed_tokens.single_piece_mut().unwrap().floats_mut();
    table.value = table.value.clone().mul_scalar(20.0);
    model
}

/// The loss on the rows that count.
fn loss(model: &Model) -> f64 {
    let dataset = counting(40, 0);
    let rows: Vec<&Sequence> = dataset.train.iter().collect();
    block_on(evaluate(&NextToken, model, &rows, Batching::packed(8), None)).unwrap().loss
}

/// A short search among LoRA, biases and norms.
fn config(by: SearchBy, budget: u64) -> RunConfig {
    let scores = if by == SearchBy::Ist { vec![1.0, 0.0] } else { Vec::new() };
    let search = SearchConfig {
        budget,
        scores,
        sizes: vec![1, 2, 4],
        prunings: 4,
        population: 6,
        generations: 3,
        evaluation_steps: 4,
        ..SearchConfig::preset(by)
    };
    let names: MethodNames = "lora,bitfit,layer_norm".parse().unwrap();
    let mut config = RunConfig { method: names.methods(&report()), search: Some(search), ..RunConfig::default() };
    config.method.set(Some(4), |m| &mut m.rank);
    config.method.set(Some(4.0), |m| &mut m.alpha);
    (config.train.steps, config.train.batch_size, config.train.learning_rate) = (24, 4, 0.02);
    (config.train.eval_every, config.train.warmup_steps) = (0, 2);
    if by == SearchBy::Autopeft {
        (config.train.schedule, config.train.warmup_steps) = (Schedule::Constant, 0);
    }
    in_blocks(config, &report())
}

/// The search of a configuration on the rows that count.
fn search(config: &RunConfig, mut model: Model) -> (Trainer, Found) {
    config.validate().unwrap();
    let search = Search::new(config, &model.config.report("small", 0)).unwrap();
    let found = search.found();
    block_on(model.attach(&config.method, config.train.seed)).unwrap();
    let dataset = set_apart(Rc::new(counting(40, 12)), config).unwrap();
    let trainer = Trainer::new(config.clone(), model, dataset, vec![Box::new(search)], Identity::default());
    (trainer.unwrap(), found)
}
