//! (b) A planted useless and a planted crucial block are told apart.

use std::cell::RefCell;
use std::collections::BTreeMap;

use burn::tensor::Device;
use rand::RngExt;
use stratune_data::{Dataset, Sequence};
use stratune_ist::Ist;
use stratune_models::Model;
use stratune_peft::{Adapter, MethodConfig};
use stratune_protocol::{IstConfig, IstMode, Targets, draws};
use stratune_runtime::{block_on, read_f32};
use stratune_session::attach;
use stratune_store::{HostTensor, Tensors};
use stratune_tests::fixtures::ids;
use stratune_tests::runs::small;
use stratune_train::{AdamW, Event, Hook, NextToken, Run, RunConfig};

const LAYERS: usize = 6;
const CRUCIAL: usize = 3;
const USELESS: usize = 4;

/// A model whose every block has an update: a strong one in the crucial block, none at all in the useless one, a weak one
/// in the others.
fn teacher(device: &Device) -> Model {
    let mut model = small(LAYERS, device);
    // Random embeddings say next to nothing; larger ones make the answers sure enough to be hurt.
    let table = model.embed_tokens.single_piece_mut().expect("one piece").floats_mut();
    table.value = table.value.clone().mul_scalar(20.0);
    let mut tensors = Tensors::new();
    for layer in 0..LAYERS {
        let strength = match layer {
            CRUCIAL => 1.5,
            USELESS => 0.0,
            _ => 0.6,
        };
        for (site, part, [outputs, inputs]) in [(0, "mlp.down_proj", [16, 24]), (1, "self_attn.o_proj", [16, 16])] {
            let mut rng = draws(3, "planted", [layer as u64, site]);
            let mut matrix = |rows: usize, columns: usize, bound: f32| {
                let data = (0..rows * columns).map(|_| bound * rng.random_range(-1.0..1.0)).collect();
                HostTensor { shape: vec![rows, columns], data }
            };
            let (a, b) = (matrix(2, inputs, 1.0), matrix(outputs, 2, strength));
            tensors.insert(format!("model.layers.{layer}.{part}.lora_A.weight"), a);
            tensors.insert(format!("model.layers.{layer}.{part}.lora_B.weight"), b);
        }
    }
    let method = MethodConfig {
        rank: Some(2),
        alpha: Some(8.0),
        targets: Some(Targets::listed(&["o_proj", "down_proj"])),
        ..MethodConfig::default()
    };
    let adapter = Adapter { base_model: None, methods: method.into(), seed: 0, saved: Default::default(), tensors };
    block_on(attach(&mut model, &adapter)).unwrap();
    model
}

/// Rows that the teacher itself would write: what damps its updates says them less surely.
fn rows(model: &Model, device: &Device) -> Vec<Sequence> {
    let row = |i: u64| {
        let mut rng = draws(4, "rows", [i, 0]);
        let mut tokens: Vec<u32> = (0..2).map(|_| rng.random_range(0..32)).collect();
        for _ in 0..14 {
            let logits = block_on(read_f32(model.logits(ids(&tokens, device)))).unwrap();
            let last = &logits[logits.len() - 32..];
            let weights: Vec<f64> = last.iter().map(|l| f64::from(*l).exp()).collect();
            let mut at = rng.random::<f64>() * weights.iter().sum::<f64>();
            let next = weights.iter().position(|w| {
                at -= w;
                at < 0.0
            });
            tokens.push(next.unwrap_or(31) as u32);
        }
        Sequence { loss_mask: (0..16).map(|t| t > 1).collect(), tokens, ..Sequence::default() }
    };
    (0..48).map(row).collect()
}

#[test]
fn a_useless_block_is_ranked_last_and_a_crucial_one_first() {
    let device = Device::flex();
    let mut model = teacher(&device);
    let rows = rows(&model, &device);
    let dataset = Dataset { train: rows.clone(), importance: rows, ..Dataset::default() };
    for mode in [IstMode::Faithful, IstMode::Practical] {
        // The released μ is made for thousands of updates; the ordering needs few, larger ones.
        let step_size = if mode == IstMode::Faithful { 10.0 } else { 0.2 };
        let config = IstConfig { step_size, interval: 1, ..IstConfig::preset(mode) };
        let mut hook = Ist::new(&config, LAYERS, 8, 17);
        let probabilities = RefCell::new(BTreeMap::new());
        let emit = |event| {
            if let Event::Importance { step, probabilities: p, .. } = event {
                probabilities.borrow_mut().insert(step, p);
            }
        };
        let (mut optimiser, mut whole) = (AdamW::new(0.0), RunConfig::default());
        whole.train.batch_size = 16;
        let mut run = Run::new(&mut model, &mut optimiser, (&dataset, &whole), &NextToken, 250);
        run.emit = &emit;
        for step in 0..250 {
            run.step = step;
            block_on(hook.before_step(&mut run)).unwrap();
        }
        let scores = &hook.scores().0;
        let mut ranked: Vec<usize> = (0..LAYERS).collect();
        ranked.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        println!("{mode:?}: {scores:?}");
        assert_eq!((ranked[0], ranked[LAYERS - 1]), (CRUCIAL, USELESS), "{mode:?}: {scores:?}");
        let last = &probabilities.borrow()[&249];
        assert!(last[CRUCIAL] > 0.5 && last[USELESS] < 0.5, "{last:?}");
    }
}
