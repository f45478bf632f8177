//! One batch up and down the model.
//!
//! On the way up only each block's input is kept, without an autodiff graph. On the way down a block runs again with one,
//! is seeded with the gradient that comes from above, gives its parameters' and its input's gradient, and is dropped. So
//! memory is one block, whatever the method, and the way down ends at the lowest block that trains. The top `keep_graphs`
//! blocks keep their graphs from the way up instead, which saves running them twice.

use std::rc::Rc;

use burn::tensor::{IndexingUpdateOp, Tensor};
use stratune_kernels::backward_from;
use stratune_models::nn::{Positions, scaled};
use stratune_models::{Block, Ladder, Model};
use stratune_peft::{Dropout, Gradients, Pass, Shared, collect_gradients, track};

use crate::objective::add;
use crate::{Objective, Uploaded};

/// What a sweep is asked for.
#[derive(Clone, Copy)]
pub struct Demand<'a> {
    /// What is minimised.
    pub objective: &'a dyn Objective,
    /// Which blocks train.
    pub active: &'a [bool],
    /// Key of dropout's draws, while training with dropout.
    pub dropout: Option<Dropout>,
    /// Top blocks that keep their graphs.
    pub keep_graphs: usize,
    /// What the gradients are multiplied by: one over the learned tokens of the step.
    pub scale: f64,
}

/// What a sweep gives.
#[derive(Debug)]
pub struct Swept {
    /// Loss summed over the learned tokens, `[1]`, still on the device.
    pub loss: Tensor<1>,
    /// Gradients of what trains.
    pub gradients: Gradients,
    /// Blocks that ran with a graph, from the top down: the ones that the backward pass went through.
    pub passed: Vec<usize>,
}

/// Loss and gradients of one batch.
pub fn sweep(model: &Model, batch: &Uploaded, demand: &Demand<'_>) -> Swept {
    if let Some(ladder) = &model.ladder {
        return beside(model, ladder, batch, demand);
    }
    let layers = model.layers.len();
    let trains_input = model.embed_tokens.trains() || model.prompt.as_ref().is_some_and(|p| p.trainable);
    // A block that is to train and in which no method trains anything has nothing to give.
    let blocks = model.layers.iter().zip(demand.active);
    let active: Vec<bool> = blocks.map(|(block, active)| *active && block.trains(&model.shared)).collect();
    let lowest = active.iter().position(|a| *a).unwrap_or(layers);
    let floor = if trains_input { 0 } else { lowest };
    let at = batch.places(model);
    let mut gradients = Gradients::new();
    let shared = Rc::new(model.shared.clone());

    let pass = |i: usize| {
        let (apart, compute) = (batch.apart.clone(), model.compute.of_mean(demand.scale));
        Pass { dropout: demand.dropout, apart, compute, ..Pass::plain(i, shared.clone()) }
    };
    let run = |i: usize, x: Tensor<3>| {
        let needs_input = trains_input || i > floor;
        Graph::of(&model.layers[i], x, &at, pass(i), active[i], needs_input)
    };
    let mut x = model.begin(batch.tokens.clone());
    let mut kept = Vec::with_capacity(layers - floor);
    for i in 0..layers {
        if i >= floor && i + demand.keep_graphs >= layers {
            let graph = run(i, x);
            x = graph.output.clone().inner();
            kept.push(Kept::Graph(graph));
        } else {
            if i >= floor {
                kept.push(Kept::Input(x.clone()));
            }
            x = model.layers[i].forward(x, &at, None, &pass(i));
        }
    }

    let (loss, dy) = demand.objective.backward(model, model.text_of(x), batch, demand.scale, &mut gradients);
    let mut dy = below_prompt(model, dy);
    let mut passed = Vec::new();
    for i in (floor..layers).rev() {
        let graph = match kept.pop() {
            Some(Kept::Graph(graph)) => graph,
            Some(Kept::Input(x)) => run(i, x),
            None => break,
        };
        passed.push(i);
        match graph.backward(dy, &mut gradients) {
            Some(dx) => dy = dx,
            None => return Swept { loss, gradients, passed },
        }
    }
    if trains_input {
        input_gradients(model, batch, dy, &mut gradients);
    }
    Swept { loss, gradients, passed }
}

/// Loss and gradients of one batch for a ladder: the model runs without a graph, and the ladder alone with one.
fn beside(model: &Model, ladder: &Ladder, batch: &Uploaded, demand: &Demand<'_>) -> Swept {
    let at = batch.places(model);
    let mut x = model.begin(batch.tokens.clone());
    let mut states = vec![x.clone()];
    for (i, block) in model.layers.iter().enumerate() {
        x = block.forward(x, &at, None, &model.plain_pass(i));
        states.push(x.clone());
    }
    let mut gradients = Gradients::new();
    let mut ladder = ladder.clone();
    track(&mut ladder);
    let Some(at) = &at.side else {
        return Swept { loss: Tensor::zeros([1], &x.device()), gradients, passed: Vec::new() };
    };
    let side = ladder.forward(&states, at, None, &model.plain_pass(model.layers.len()));
    let x = model.text_of(x + side.clone().inner());
    let (loss, dy) = demand.objective.backward(model, x, batch, demand.scale, &mut gradients);
    let mut tape = backward_from(side, below_prompt(model, dy));
    collect_gradients(&mut ladder, &mut tape, &mut gradients);
    Swept { loss, gradients, passed: Vec::new() }
}

/// What is kept of a block on the way up.
// There is one a block: their size on the stack does not matter.
#[allow(clippy::large_enum_variant)]
enum Kept {
    Input(Tensor<3>),
    Graph(Graph),
}

/// A block that has run with autodiff.
struct Graph {
    trained: Option<(Block, Shared)>,
    input: Option<Tensor<3>>,
    output: Tensor<3>,
}

impl Graph {
    fn of(block: &Block, x: Tensor<3>, at: &Positions, mut pass: Pass, trains: bool, needs_input: bool) -> Self {
        let input = needs_input.then(|| x.clone().autodiff().require_grad());
        let mut block = block.clone();
        let mut shared = (*pass.shared).clone();
        if trains {
            track(&mut block);
            track(&mut shared);
            pass.shared = Rc::new(shared.clone());
        }
        let output = block.forward(input.clone().unwrap_or(x), at, None, &pass);
        Self { trained: trains.then_some((block, shared)), input, output }
    }

    /// Adds the parameters' gradients to `into` and gives the input's.
    fn backward(self, dy: Tensor<3>, into: &mut Gradients) -> Option<Tensor<3>> {
        let mut tape = backward_from(self.output, dy);
        if let Some((mut block, mut shared)) = self.trained {
            collect_gradients(&mut block, &mut tape, into);
            collect_gradients(&mut shared, &mut tape, into);
        }
        self.input.and_then(|x| x.grad_remove(&mut tape)).map(Tensor::inner)
    }
}

/// The gradient of the text's positions, with zeros at those of the prompt.
fn below_prompt(model: &Model, dy: Tensor<3>) -> Tensor<3> {
    let [rows, _, hidden] = dy.dims();
    match model.prompt_length() {
        0 => dy,
        length => Tensor::cat(vec![Tensor::zeros([rows, length, hidden], &dy.device()), dy], 1),
    }
}

/// The prompt gets the gradient of its positions, each token's row of the embedding that of the places where it stands.
fn input_gradients(model: &Model, batch: &Uploaded, dy: Tensor<3>, into: &mut Gradients) {
    let length = model.prompt_length();
    if model.prompt.as_ref().is_some_and(|p| p.trainable) {
        let dy = dy.clone().narrow(1, 0, length).sum_dim(0).squeeze_dim(0);
        add(into, &Model::prompt_id(), scaled(dy, model.config.prompt_multiplier()));
    }
    if !model.embed_tokens.trains() {
        return;
    }
    let dy = scaled(model.text_of(dy), model.config.embedding_multiplier);
    let [rows, width, hidden] = dy.dims();
    let places = batch.tokens.clone().reshape([rows * width]);
    let table = Tensor::<2>::zeros(model.embed_tokens.dims(), &dy.device());
    let table = table.select_assign(0, places, dy.reshape([rows * width, hidden]), IndexingUpdateOp::Add);
    add(into, &model.embed_tokens.id.param("weight"), table);
}
