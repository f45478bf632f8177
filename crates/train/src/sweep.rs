//! Loss and gradients of one batch, with gradient checkpointing block by block.
//!
//! Forward, only each block's input is kept, without an autodiff graph. Backward, a block runs again with one,
//! is seeded with the gradient that comes from above, gives its parameters' and its input's gradient, and is dropped. So
//! memory is one block, whatever the method, and the backward pass ends at the lowest block that trains. The top
//! `keep_graphs` blocks keep their graphs from the forward pass instead, which saves running them twice.

use std::rc::Rc;

use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use stratune_kernels::backward_from;
use stratune_models::nn::{Positions, scaled};
use stratune_models::{Block, Ladder, Model};
use stratune_peft::{
    Dropout, Embedding, ForwardContext, Gradients, Shared, collect_gradients, count_trainable, require_grad,
};

use crate::objective::add;
use crate::{DeviceBatch, Objective};

/// Options of a sweep.
#[derive(Clone, Copy)]
pub struct SweepOptions<'a> {
    /// What is minimised.
    pub objective: &'a dyn Objective,
    /// Which blocks train.
    pub active: &'a [bool],
    /// Key of dropout's draws, while training with dropout.
    pub dropout: Option<Dropout>,
    /// Top blocks that keep their graphs.
    pub keep_graphs: usize,
    /// What the gradients are multiplied by: one over the labels of the step.
    pub scale: f64,
}

/// What a sweep gives.
#[derive(Debug)]
pub struct SweepOutput {
    /// Loss summed over the labels, `[1]`, still on the device.
    pub loss: Tensor<1>,
    /// Gradients of what trains.
    pub gradients: Gradients,
    /// Blocks that ran with a graph, from the top down: the ones that the backward pass went through.
    pub passed: Vec<usize>,
}

/// Loss and gradients of one batch.
pub fn sweep(model: &Model, batch: &DeviceBatch, options: &SweepOptions<'_>) -> SweepOutput {
    if let Some(ladder) = &model.ladder {
        return sweep_ladder(model, ladder, batch, options);
    }
    let layers = model.layers.len();
    let tables = [Some(&model.embed_tokens), model.embed_positions.as_ref(), model.embed_token_types.as_ref()];
    let trains_table = tables.into_iter().flatten().any(Embedding::trains);
    let trains_norm = count_trainable(&mut model.embed_norm.clone()) > 0;
    let trains_input = trains_table || trains_norm || model.prompt.as_ref().is_some_and(|p| p.trainable);
    // A block that is to train and in which no method trains anything has nothing to give.
    let blocks = model.layers.iter().zip(options.active);
    let active: Vec<bool> = blocks.map(|(block, active)| *active && block.trains(&model.shared)).collect();
    let lowest = active.iter().position(|a| *a).unwrap_or(layers);
    let floor = if trains_input { 0 } else { lowest };
    let at = batch.model_positions(model);
    let mut gradients = Gradients::new();
    let shared = Rc::new(model.shared.clone());

    let context = |i: usize| {
        let (unpacked_index, compute) = (batch.unpacked_index.clone(), model.compute.of_mean(options.scale));
        ForwardContext {
            dropout: options.dropout,
            unpacked_index,
            compute,
            ..ForwardContext::inference(i, shared.clone())
        }
    };
    let run = |i: usize, x: Tensor<3>| {
        let needs_input = trains_input || i > floor;
        Graph::of(&model.layers[i], x, &at, context(i), active[i], needs_input)
    };
    let mut x = model.embed_with_prompt(batch.tokens.clone(), &at);
    let mut saved = Vec::with_capacity(layers - floor);
    for i in 0..layers {
        if i >= floor && i + options.keep_graphs >= layers {
            let graph = run(i, x);
            x = graph.output.clone().inner();
            saved.push(Saved::Graph(graph));
        } else {
            if i >= floor {
                saved.push(Saved::Input(x.clone()));
            }
            x = model.layers[i].forward(x, &at, None, &context(i));
        }
    }

    let (loss, dy) = options.objective.backward(model, model.without_prompt(x), batch, options.scale, &mut gradients);
    let mut dy = below_prompt(model, dy);
    let mut passed = Vec::new();
    for i in (floor..layers).rev() {
        let graph = match saved.pop() {
            Some(Saved::Graph(graph)) => graph,
            Some(Saved::Input(x)) => run(i, x),
            None => break,
        };
        passed.push(i);
        match graph.backward(dy, &mut gradients) {
            Some(dx) => dy = dx,
            None => return SweepOutput { loss, gradients, passed },
        }
    }
    if trains_input {
        input_gradients(model, (batch, &at), dy, &mut gradients);
    }
    SweepOutput { loss, gradients, passed }
}

/// Loss and gradients of one batch for a ladder: the model runs without a graph, and the ladder alone with one.
fn sweep_ladder(model: &Model, ladder: &Ladder, batch: &DeviceBatch, options: &SweepOptions<'_>) -> SweepOutput {
    let at = batch.model_positions(model);
    let mut x = model.embed_with_prompt(batch.tokens.clone(), &at);
    let mut states = vec![x.clone()];
    for (i, block) in model.layers.iter().enumerate() {
        x = block.forward(x, &at, None, &model.inference_context(i));
        states.push(x.clone());
    }
    let mut gradients = Gradients::new();
    let mut ladder = ladder.clone();
    require_grad(&mut ladder);
    let Some(at) = &at.side else {
        return SweepOutput { loss: Tensor::zeros([1], &x.device()), gradients, passed: Vec::new() };
    };
    let side = ladder.forward(&states, at, None, &model.inference_context(model.layers.len()));
    let x = model.without_prompt(x + side.clone().inner());
    let (loss, dy) = options.objective.backward(model, x, batch, options.scale, &mut gradients);
    let mut tape = backward_from(side, below_prompt(model, dy));
    collect_gradients(&mut ladder, &mut tape, &mut gradients);
    SweepOutput { loss, gradients, passed: Vec::new() }
}

/// What is kept of a block in the forward pass.
// There is one a block: their size on the stack does not matter.
#[allow(clippy::large_enum_variant)]
enum Saved {
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
    fn of(
        block: &Block,
        x: Tensor<3>,
        at: &Positions,
        mut context: ForwardContext,
        trains: bool,
        needs_input: bool,
    ) -> Self {
        let input = needs_input.then(|| x.clone().autodiff().require_grad());
        let mut block = block.clone();
        let mut shared = (*context.shared).clone();
        if trains {
            require_grad(&mut block);
            require_grad(&mut shared);
            context.shared = Rc::new(shared.clone());
        }
        let output = block.forward(input.clone().unwrap_or(x), at, None, &context);
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

/// The gradients of what enters the first block: of the norm, if it has one, of the prompt at its positions, and of each row
/// of an embedding those of the positions where it stands.
fn input_gradients(model: &Model, (batch, at): (&DeviceBatch, &Positions), dy: Tensor<3>, into: &mut Gradients) {
    let dy = match &model.embed_norm {
        None => dy,
        Some(norm) => {
            let mut norm = norm.clone();
            require_grad(&mut norm);
            let input = model.input(batch.tokens.clone(), at).autodiff().require_grad();
            let normed = norm.forward(input.clone(), &model.inference_context(0));
            let mut tape = backward_from(normed, dy.clone());
            collect_gradients(&mut norm, &mut tape, into);
            input.grad_remove(&mut tape).map_or(dy, Tensor::inner)
        }
    };
    if let Some(table) = model.embed_token_types.as_ref().filter(|table| table.trains()) {
        let [rows, seq, _] = dy.dims();
        let ids = at.type_ids.clone().unwrap_or_else(|| Tensor::zeros([rows, seq], &dy.device()));
        add(into, &table.id.param("weight"), scattered(table, ids, dy.clone()));
    }
    let positions = model.embed_positions.as_ref().filter(|table| table.trains());
    if let Some((table, ids)) = positions.zip(at.position_ids.as_ref()) {
        // Where all rows have the same positions, what they give is added up first.
        let dy = if ids.dims()[0] == 1 { dy.clone().sum_dim(0) } else { dy.clone() };
        add(into, &table.id.param("weight"), scattered(table, ids.clone(), dy));
    }
    let length = model.prompt_length();
    if model.prompt.as_ref().is_some_and(|p| p.trainable) {
        let dy = dy.clone().narrow(1, 0, length).sum_dim(0).squeeze_dim(0);
        add(into, &Model::prompt_id(), scaled(dy, model.config.prompt_multiplier()));
    }
    if !model.embed_tokens.trains() {
        return;
    }
    let dy = scaled(model.without_prompt(dy), model.config.embedding_multiplier);
    let embedding = &model.embed_tokens;
    add(into, &embedding.id.param("weight"), scattered(embedding, batch.tokens.clone(), dy));
}

/// The gradient of a table: to each row that of the places where it stands.
///
/// # Shapes
/// - `ids`: `[rows, width]`, `dy`: `[rows, width, hidden]`
fn scattered(table: &Embedding, ids: Tensor<2, Int>, dy: Tensor<3>) -> Tensor<2> {
    let [rows, width, hidden] = dy.dims();
    let (ids, dy) = (ids.reshape([rows * width]), dy.reshape([rows * width, hidden]));
    Tensor::zeros(table.dims(), &dy.device()).select_assign(0, ids, dy, IndexingUpdateOp::Add)
}
