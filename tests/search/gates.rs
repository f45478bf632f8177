//! What gates make of the network of all modules: the structure with the first ranks' weights, and the slope of the loss.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use stratune_data::Sequence;
use stratune_models::Model;
use stratune_peft::{restore, snapshot};
use stratune_protocol::{SearchBy, draws};
use stratune_runtime::{block_on, read_f32};
use stratune_search::supernet::{Gate, Supernet};
use stratune_search::{Search, second_order_slopes};
use stratune_tests::fixtures::ids;
use stratune_tests::runs::counting;
use stratune_tests::worst;
use stratune_train::{AdamW, Batching, NextToken, Run, RunConfig, evaluate};

use crate::{config, lively, report};

const TEXT: [u32; 12] = [1, 9, 17, 4, 30, 2, 2, 8, 11, 25, 3, 19];

fn says(model: &Model) -> Vec<f32> {
    block_on(read_f32(model.logits(ids(&TEXT, &model.device())))).unwrap()
}

/// All modules, bottlenecks among them, every number moved.
fn supernet() -> (RunConfig, Search, Model) {
    let mut config = config(SearchBy::Random, 400);
    config.method.push(stratune_peft::MethodConfig {
        width: Some(4),
        ..stratune_peft::MethodConfig::new("pfeiffer".parse().unwrap())
    });
    let search = Search::new(&config, &report()).unwrap();
    let mut model = lively();
    block_on(model.attach(&config.method, 0)).unwrap();
    let mut values = BTreeMap::new();
    for (i, (path, (_, value))) in snapshot(&mut model).into_iter().enumerate() {
        let mut rng = draws(9, "moved", [i as u64, 0]);
        let there = block_on(read_f32(value)).unwrap();
        let there: Vec<f32> = there.iter().map(|v| v + rng.random_range(-0.3..0.3)).collect();
        values.insert(path, Tensor::<1>::from_floats(there.as_slice(), &model.device()));
    }
    restore(&mut model, &values).unwrap();
    (config, search, model)
}

/// Of a matrix the first rows and columns.
fn cut(values: &[f32], [rows, columns]: [usize; 2], to: &[usize]) -> Vec<f32> {
    assert!(to[0] <= rows && to[1] <= columns);
    values.chunks(columns).take(to[0]).flat_map(|row| row[..to[1]].to_vec()).collect()
}

/// With modules off and ranks closed it is the model that has the structure alone, whose weights are the first rows of A and
/// the first columns of B; opened again it is what it was.
#[test]
fn a_smaller_size_is_the_first_rows() {
    let (_, search, mut model) = supernet();
    let space = search.space();
    let supernet = Supernet::new(space, &mut model).unwrap();
    let whole = says(&model);
    for seed in 0..4 {
        let mut rng = draws(seed, "sizes", [0, 0]);
        let sizes: Vec<usize> = space
            .modules
            .iter()
            .map(|module| rng.random_range(0..=module.sizes.len()).checked_sub(1).map_or(0, |i| module.sizes[i]))
            .collect();
        let gates: Vec<Gate> = sizes.iter().map(|size| Gate::of(*size)).collect();
        let raw = supernet.close(&mut model, &gates);
        let closed = says(&model);
        Supernet::open(&mut model, &raw);
        assert_eq!(says(&model), whole);

        let methods = space.structure(&sizes).methods(&report()).unwrap();
        let mut small = lively();
        block_on(small.attach(&methods, 0)).unwrap();
        let all = snapshot(&mut model);
        let mut values = BTreeMap::new();
        for (path, (shape, _)) in snapshot(&mut small) {
            let (full, value) = &all[&path];
            let there = block_on(read_f32(value.clone())).unwrap();
            let there = match full[..] {
                [rows, columns] => cut(&there, [rows, columns], &shape),
                _ => there[..shape[0]].to_vec(),
            };
            let count = there.len();
            values.insert(path, Tensor::<1>::from_data(TensorData::new(there, [count]), &model.device()));
        }
        restore(&mut small, &values).unwrap();
        let off = worst(&closed, &says(&small));
        // The same sums with zeros among them.
        assert!(off < 1e-4, "{sizes:?}: {off:e}");
        assert!(worst(&closed, &whole) > 1e-3, "gates do something");
    }
}

/// The slopes are those that small changes of the gates show, and gradients come through half-closed gates as they are.
#[test]
fn slopes_are_finite_differences() {
    let (config, search, mut model) = supernet();
    let space = search.space();
    let supernet = Supernet::new(space, &mut model).unwrap();
    let dataset = counting(4, 0);
    let rows: Vec<&Sequence> = dataset.train.iter().collect();
    let by = Batching::from(&config.train);
    let gates: Vec<Gate> = space
        .modules
        .iter()
        .enumerate()
        .map(|(i, m)| Gate { size: m.largest(), scale: 0.3 + 0.1 * (i % 5) as f32 })
        .collect();
    let values = snapshot(&mut model);
    let loss = |gates: &[Gate], model: &Model| {
        let mut model = model.clone();
        supernet.close(&mut model, gates);
        block_on(evaluate(&NextToken, &model, &rows, by, None)).unwrap().loss
    };
    let mut closed = model.clone();
    supernet.close(&mut closed, &gates);
    let mut optimiser = AdamW::new(0.0);
    let gradients = {
        let mut copy = closed.clone();
        let run = Run::new(&mut copy, &mut optimiser, (&dataset, &config), &NextToken, 1);
        run.gradients(&closed, &rows, by)
    };
    let slopes = block_on(supernet.slopes(&values, &gradients)).unwrap();
    let mut checked = 0;
    for (i, module) in space.modules.iter().enumerate() {
        let moved = |by: f32| {
            let mut gates = gates.clone();
            gates[i].scale += by;
            loss(&gates, &model)
        };
        let (got, want) = (slopes[i].of_size(module.largest()), (moved(0.02) - moved(-0.02)) / 0.04);
        // Of losses around 3 in f32, and the third derivative over a step of 0.02.
        assert!((got - want).abs() < 2e-4 + 0.02 * want.abs(), "{}: {got} for {want}", module.name());
        checked += usize::from(want.abs() > 1e-3);
    }
    assert!(checked > 10, "{checked}");
}

/// Of the loss that the rows set apart have behind a step of the weights: each gate is moved a little, the step is taken anew, and
/// the loss is measured. What the first order says is further off.
#[test]
fn second_order_slopes_are_finite_differences_through_a_step() {
    const RATE: f64 = 0.5;
    let (config, search, mut model) = supernet();
    let space = search.space();
    let supernet = Supernet::new(space, &mut model).unwrap();
    let dataset = counting(8, 0);
    let rows: Vec<&Sequence> = dataset.train.iter().collect();
    let (train, apart) = rows.split_at(4);
    let by = Batching::from(&config.train);
    let gates: Vec<Gate> = space
        .modules
        .iter()
        .enumerate()
        .map(|(i, m)| Gate { size: m.largest(), scale: 0.3 + 0.1 * (i % 5) as f32 })
        .collect();
    let mut optimiser = AdamW::new(0.0);
    let mut copy = model.clone();
    let mut run = Run::new(&mut copy, &mut optimiser, (&dataset, &config), &NextToken, 1);
    // The loss behind the step, and what is known of it without the second order: the slope where the step ends.
    let stepped = |run: &Run<'_>, gates: &[Gate]| {
        let mut there = model.clone();
        let values = snapshot(&mut there);
        supernet.close(&mut there, gates);
        let mut gradients = run.gradients(&there, train, by);
        supernet.through_gates(&mut gradients, gates);
        let step = |(path, (_, value)): (String, (Vec<usize>, Tensor<1>))| {
            let moved = gradients.get(&path).map(|g| value.clone() - g.clone().mul_scalar(RATE));
            (path, moved.unwrap_or(value))
        };
        let mut stepped = model.clone();
        restore(&mut stepped, &values.into_iter().map(step).collect()).unwrap();
        stepped
    };
    let loss = |run: &Run<'_>, gates: &[Gate]| {
        let mut there = stepped(run, gates);
        supernet.close(&mut there, gates);
        block_on(evaluate(&NextToken, &there, apart, by, None)).unwrap().loss
    };
    let mut ahead = stepped(&run, &gates);
    let values = snapshot(&mut ahead);
    supernet.close(&mut ahead, &gates);
    let first = block_on(supernet.slopes(&values, &run.gradients(&ahead, apart, by))).unwrap();
    let second = block_on(second_order_slopes(&mut run, &supernet, &gates, [train, apart], RATE)).unwrap();
    let (mut checked, mut errors) = (0, [0.0, 0.0]);
    for (i, module) in space.modules.iter().enumerate() {
        let moved = |by: f32| {
            let mut gates = gates.clone();
            gates[i].scale += by;
            loss(&run, &gates)
        };
        let want = (moved(0.02) - moved(-0.02)) / 0.04;
        let got = [&first, &second].map(|slopes| slopes[i].of_size(module.largest()));
        println!("{}: {want:.5}, first order {:.5}, second {:.5}", module.name(), got[0], got[1]);
        assert!((got[1] - want).abs() < 1e-3 + 0.05 * want.abs(), "{}: {} for {want}", module.name(), got[1]);
        (errors[0], errors[1]) = (errors[0] + (got[0] - want).abs(), errors[1] + (got[1] - want).abs());
        checked += usize::from((got[0] - want).abs() > 2e-3);
    }
    assert!(checked > 5 && errors[1] < 0.3 * errors[0], "{checked} {errors:?}");
}
