//! Loss and gradients of one batch, with gradient checkpointing block by block.
//!
//! Forward, only each block's input is kept, without an autodiff graph. Backward, a block runs again with one,
//! is seeded with the gradient that comes from above, gives its parameters' and its input's gradient, and is dropped. So
//! memory is one block, whatever the method, and the backward pass ends at the lowest block that trains. The top
//! `keep_graphs` blocks keep their graphs from the forward pass instead, which saves running them twice.

use std::rc::Rc;

use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use stratune_kernels::backward_from;
use stratune_models::nn::{Norm, Positions, scaled};
use stratune_models::{Block, Ladder, Model};
use stratune_peft::{
    Dropout, Embedding, ForwardContext, Gradients, Linear, Shared, collect_gradients, count_trainable, require_grad,
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
    let trains_norm =
        count_trainable(&mut model.embed_norm.clone()) + count_trainable(&mut model.embed_patches.clone()) > 0;
    let trains_bias = model.stacks.as_ref().is_some_and(|stacks| stacks.trains_bias());
    let trains_input = trains_table || trains_norm || trains_bias || model.prompt.as_ref().is_some_and(|p| p.trainable);
    // A block that is to train and in which no method trains anything has nothing to give.
    let blocks = model.layers.iter().zip(options.active);
    let active: Vec<bool> = blocks.map(|(block, active)| *active && block.trains(&model.shared)).collect();
    let lowest = active.iter().position(|a| *a).unwrap_or(layers);
    // The first block of the decoder, behind those of the encoder that it reads; of one stack the first of all.
    let decoder = model.config.encoder_layers();
    let reads = batch.source.as_ref().filter(|_| decoder > 0);
    // An encoder that has nothing to read does not run.
    let first = if reads.is_some() { 0 } else { decoder };
    let mut encoder_norm = model.stacks.as_ref().map(|stacks| stacks.encoder_norm.clone());
    let trains_read = count_trainable(&mut encoder_norm) > 0;
    let floor = match (trains_input, trains_read) {
        (true, _) => first,
        (false, true) => lowest.min(decoder),
        (false, false) => lowest.max(first),
    };
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
    let run = |i: usize, x: Tensor<3>, at: &Positions| {
        let needs = Needs {
            input: trains_input || (i > floor && i != decoder),
            read: i >= decoder && (floor < decoder || trains_read),
            bias: trains_bias,
        };
        Graph::of(&model.layers[i], x, at, context(i), active[i], needs)
    };
    let mut at = batch.model_positions(model);
    let encoder_at = reads.map(|source| model.encoder_positions(source));
    let mut x = match reads {
        None => model.embed_with_prompt(batch.tokens.clone(), &at),
        Some(source) => model.embed(source.tokens.clone()),
    };
    let mut left_encoder = None;
    let mut saved = Vec::with_capacity(layers - floor);
    for i in first..layers {
        if let Some(source) = reads.filter(|_| i == decoder) {
            at.encoded = model.encoded(x.clone(), source);
            left_encoder = Some(x);
            x = model.embed_with_prompt(batch.tokens.clone(), &at);
        }
        let at = encoder_at.as_ref().filter(|_| i < decoder).unwrap_or(&at);
        if i >= floor && i + options.keep_graphs >= layers {
            let graph = run(i, x, at);
            x = graph.output.clone().inner();
            saved.push(Saved::Graph(graph));
        } else {
            if i >= floor {
                saved.push(Saved::Input(x.clone()));
            }
            x = model.layers[i].forward(x, at, None, &context(i));
        }
    }

    let (loss, dy) = options.objective.backward(model, model.without_prompt(x), batch, options.scale, &mut gradients);
    let mut dy = below_prompt(model, dy);
    let mut d_read: Option<Tensor<3>> = None;
    let mut passed = Vec::new();
    for i in (floor..layers).rev() {
        let at_block = encoder_at.as_ref().filter(|_| i < decoder).unwrap_or(&at);
        let graph = match saved.pop() {
            Some(Saved::Graph(graph)) => graph,
            Some(Saved::Input(x)) => run(i, x, at_block),
            None => break,
        };
        passed.push(i);
        let below = graph.backward(dy, &mut gradients);
        if let Some((stacks, d_bias)) = model.stacks.as_ref().zip(below.bias) {
            let bias = if i < decoder { &stacks.encoder_bias } else { &stacks.decoder_bias };
            add(&mut gradients, &bias.id.param("weight"), bias.gradient(d_bias));
        }
        d_read = match (d_read, below.read) {
            (Some(sum), Some(of_block)) => Some(sum + of_block),
            (sum, of_block) => sum.or(of_block),
        };
        let mut below = below.input;
        if reads.is_some() && i == decoder {
            if let Some(dx) = below.filter(|_| trains_input) {
                input_gradients(model, &batch.tokens, &at, dx, &mut gradients);
            }
            // What goes down from here is what all blocks of the decoder say of what they read.
            let context = model.inference_context(layers);
            let through = d_read.take().zip(left_encoder.take()).zip(encoder_norm.as_ref());
            below = through.map(|((dy, x), norm)| through_norm(norm, x, dy, &context, &mut gradients));
        }
        match below {
            Some(dx) => dy = dx,
            None => return SweepOutput { loss, gradients, passed },
        }
    }
    if trains_input {
        let tokens = reads.map_or(&batch.tokens, |source| &source.tokens);
        input_gradients(model, tokens, encoder_at.as_ref().unwrap_or(&at), dy, &mut gradients);
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

/// Of what a block is to give the gradient, beside its parameters.
#[derive(Clone, Copy)]
struct Needs {
    /// Its input.
    input: bool,
    /// What it reads of an encoder.
    read: bool,
    /// What is added to the scores of its attention to its own text.
    bias: bool,
}

/// A block that has run with autodiff.
struct Graph {
    trained: Option<(Block, Shared)>,
    input: Option<Tensor<3>>,
    read: Option<Tensor<3>>,
    /// How many of its keys, the first, stand before the text.
    bias: Option<(Tensor<4>, usize)>,
    output: Tensor<3>,
}

/// The gradients that a block passes on.
struct Below {
    input: Option<Tensor<3>>,
    read: Option<Tensor<3>>,
    bias: Option<Tensor<4>>,
}

impl Graph {
    fn of(
        block: &Block,
        x: Tensor<3>,
        at: &Positions,
        mut context: ForwardContext,
        trains: bool,
        needs: Needs,
    ) -> Self {
        let input = needs.input.then(|| x.clone().autodiff().require_grad());
        let mut block = block.clone();
        let mut shared = (*context.shared).clone();
        if trains {
            require_grad(&mut block);
            require_grad(&mut shared);
            context.shared = Rc::new(shared.clone());
        }
        let mut at = at.clone();
        let read = at.encoded.as_mut().filter(|_| needs.read).map(|encoded| {
            encoded.states = encoded.states.clone().autodiff().require_grad();
            encoded.states.clone()
        });
        let before = block.self_attn.prefix.as_ref().map_or(0, |prefix| prefix.length());
        let bias = if needs.bias { at.added_mut(before, &block.self_attn.kind) } else { None };
        let bias = bias.map(|added| {
            *added = added.clone().autodiff().require_grad();
            (added.clone(), before)
        });
        let output = block.forward(input.clone().unwrap_or(x), &at, None, &context);
        Self { trained: trains.then_some((block, shared)), input, read, bias, output }
    }

    /// Adds the parameters' gradients to `into` and gives the others.
    fn backward(self, dy: Tensor<3>, into: &mut Gradients) -> Below {
        let mut tape = backward_from(self.output, dy);
        if let Some((mut block, mut shared)) = self.trained {
            collect_gradients(&mut block, &mut tape, into);
            collect_gradients(&mut shared, &mut tape, into);
        }
        let mut of = |x: Option<Tensor<3>>| x.and_then(|x| x.grad_remove(&mut tape)).map(Tensor::inner);
        let (input, read) = (of(self.input), of(self.read));
        let bias = self.bias.and_then(|(added, before)| {
            let d_added = added.grad_remove(&mut tape)?.inner();
            let keys = d_added.dims()[3] - before;
            Some(d_added.narrow(3, before, keys))
        });
        Below { input, read, bias }
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
fn input_gradients(model: &Model, tokens: &Tensor<2, Int>, at: &Positions, dy: Tensor<3>, into: &mut Gradients) {
    let dy = match &model.embed_norm {
        None => dy,
        Some(norm) => through_norm(norm, model.input(tokens.clone(), at), dy, &model.inference_context(0), into),
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
    let (mut tokens, mut dy) = (tokens.clone(), model.without_prompt(dy));
    if let Some((embed, patches)) = model.embed_patches.as_ref().zip(at.patches.as_ref()) {
        let count = patches.dims()[1];
        through_patches(embed, patches, dy.clone().narrow(1, 1, count), &model.inference_context(0), into);
        (tokens, dy) = (tokens.narrow(1, 0, 1), dy.narrow(1, 0, 1));
    }
    if !model.embed_tokens.trains() {
        return;
    }
    let dy = scaled(dy, model.config.embedding_multiplier);
    let embedding = &model.embed_tokens;
    add(into, &embedding.id.param("weight"), scattered(embedding, tokens, dy));
}

/// The gradient with respect to what a norm has read, `x`; those of the norm itself are added to `into`.
fn through_norm(norm: &Norm, x: Tensor<3>, dy: Tensor<3>, context: &ForwardContext, into: &mut Gradients) -> Tensor<3> {
    let mut norm = norm.clone();
    require_grad(&mut norm);
    let x = x.autodiff().require_grad();
    let mut tape = backward_from(norm.forward(x.clone(), context), dy.clone());
    collect_gradients(&mut norm, &mut tape, into);
    x.grad_remove(&mut tape).map_or(dy, Tensor::inner)
}

/// Adds the gradients of the layer that makes vectors of patches, if it trains.
fn through_patches(embed: &Linear, patches: &Tensor<3>, dy: Tensor<3>, context: &ForwardContext, into: &mut Gradients) {
    let mut embed = embed.clone();
    if count_trainable(&mut embed) == 0 {
        return;
    }
    require_grad(&mut embed);
    let mut tape = backward_from(embed.forward(patches.clone(), context), dy);
    collect_gradients(&mut embed, &mut tape, into);
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
