//! A planted module that the task needs survives, and what is of no use goes, at a budget that holds only it.

use stratune_models::Model;
use stratune_protocol::{Role, SearchBy};
use stratune_runtime::block_on;
use stratune_tests::runs::RecordingCallback;

use crate::{config, lively, search};

const NEEDED: &str = "model.layers.1.mlp.down_proj";

/// A model in which nothing but the last block's down projection can do anything: attention and the first block's
/// feed-forward give zero whatever is added at one place in them, and the last one's gives what is added to its end.
fn model() -> Model {
    let mut model = lively();
    for (i, block) in model.layers.iter_mut().enumerate() {
        let silenced = if i == 0 {
            [Role::Value, Role::Output, Role::Up, Role::Down]
        } else {
            [Role::Value, Role::Output, Role::Down, Role::Down]
        };
        for role in silenced {
            let weight = block.linear_mut(role).unwrap().weight.floats_mut();
            weight.value = weight.value.zeros_like();
        }
        for role in [Role::Gate, Role::Up] {
            // What the down projection reads is large enough to learn from.
            let weight = block.linear_mut(role).unwrap().weight.floats_mut();
            weight.value = weight.value.clone().mul_scalar(20.0);
        }
    }
    model
}

#[test]
fn what_is_needed_survives_and_what_is_useless_goes() {
    // Magnitude is what others are measured against: what feeds the module that is needed may move as far.
    for by in [SearchBy::Bipeft, SearchBy::S3delta, SearchBy::Evolution, SearchBy::GradientNorm] {
        for seed in [0, 1, 2] {
            // A LoRA of rank 4 at down: 4 · (24 + 16), which is also the largest module that there is.
            let mut config = config(by, 160);
            config.method.0.truncate(1);
            let chosen = config.search.as_mut().unwrap();
            (chosen.sizes, chosen.population, chosen.generations) = (vec![4], 16, 4);
            chosen.begin = 0.4;
            (config.train.steps, config.train.batch_size, config.train.seed) = (40, 20, seed);
            let (mut trainer, found) = search(&config, model());
            block_on(RecordingCallback::default().watch(&mut trainer)).unwrap();
            let structure = found.structure().unwrap();
            let sites: Vec<&str> = structure.sites.iter().filter_map(|placed| placed.site.as_deref()).collect();
            assert_eq!(sites, [NEEDED], "{by:?}, seed {seed}");
        }
    }
}
