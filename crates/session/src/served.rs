//! A base and its adapters at work side by side: a batch that requests join and leave at any token.

use stratune_models::{CachedText, Model, next_logits};
use stratune_peft::Adapter;
use stratune_protocol::{GenerateRequest, Problem};

use crate::{Base, FinishReason, Reply, attach, prompt_tokens};

/// Texts that are kept after their answers, for the next turn of their conversations.
const KEPT: usize = 4;

/// A base, and models that differ from it by an adapter. Tensors of the base are shared.
pub struct ServedModels {
    base: Base,
    /// The base, then the base with each adapter.
    models: Vec<Model>,
    /// The base with all adapters that rows of one batch may have.
    mixed: Model,
    /// The number of each model's adapter in that; none if it is always alone.
    mixed_as: Vec<Option<usize>>,
}

impl ServedModels {
    /// Of these adapters with their names, whose numbers are from 1; 0 is the base.
    ///
    /// # Errors
    /// An adapter belongs to another model; names it.
    pub async fn new(base: Base, adapters: &[(String, Adapter)]) -> Result<Self, Problem> {
        let (mut models, mut mixed_as) = (vec![base.model.clone()], vec![Some(0)]);
        let mut together: Vec<(Model, f32)> = Vec::new();
        for (name, adapter) in adapters {
            let mut model = base.model.clone();
            let named = |problem: Problem| {
                let at = if problem.at.is_empty() { name.clone() } else { format!("{name}, {}", problem.at) };
                problem.at(at)
            };
            attach(&mut model, adapter).await.map_err(named)?;
            let can = base.model.mixed(vec![(model.clone(), 1.0)]).is_ok();
            if can {
                together.push((model.clone(), 1.0));
            }
            mixed_as.push(can.then_some(together.len()));
            models.push(model);
        }
        let mixed = base.model.mixed(together)?;
        Ok(Self { base, models, mixed, mixed_as })
    }

    /// The base.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Model `which` alone.
    pub fn model(&self, which: usize) -> Option<&Model> {
        self.models.get(which)
    }
}

/// One answer of a batch.
struct Row<'a> {
    id: u64,
    which: usize,
    reply: Reply<'a>,
}

/// What a step of a batch has brought one of its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Whose it is.
    pub id: u64,
    /// New text, which may be empty.
    pub text: String,
    /// Why the answer is over, if it is.
    pub finish: Option<FinishReason>,
    /// Tokens of the answer so far.
    pub tokens: usize,
}

/// Answers that are written in one batch, each by its own model, with its own settings, as long as it takes.
pub struct ServedBatch<'a> {
    served: &'a ServedModels,
    rows: Vec<Row<'a>>,
    kept: Vec<(usize, CachedText)>,
}

impl<'a> ServedBatch<'a> {
    /// An empty one.
    pub fn new(served: &'a ServedModels) -> Self {
        Self { served, rows: Vec::new(), kept: Vec::new() }
    }

    /// How many answers are being written.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Those who wait for an answer.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().map(|row| row.id)
    }

    /// Has model `which` answer from the next step on. Gives the number of tokens of the prompt.
    ///
    /// # Errors
    /// There is no such model, a setting is out of range, or the prompt cannot be read, is empty or fills the context.
    pub fn join(&mut self, id: u64, which: usize, request: &GenerateRequest) -> Result<usize, Problem> {
        let Base { tokenizer, template, .. } = &self.served.base;
        let unknown = || Problem::input(format!("there is no model {which}"));
        let model = self.served.model(which).ok_or_else(unknown)?;
        let prompt = prompt_tokens(tokenizer, template, request)?;
        let shared = |(of, text): &(usize, CachedText)| if *of == which { text.shared(&prompt) } else { 0 };
        let best = (0..self.kept.len()).max_by_key(|at| shared(&self.kept[*at]));
        let kept = best.filter(|at| shared(&self.kept[*at]) > 0).map(|at| self.kept.remove(at).1);
        let reply = Reply::begin(model, (tokenizer, template), request, prompt, kept.unwrap_or_default())?;
        let tokens = reply.prompt_tokens();
        self.rows.push(Row { id, which, reply });
        Ok(tokens)
    }

    /// Drops an answer that nobody waits for.
    pub fn leave(&mut self, id: u64) {
        let left = self.rows.iter().position(|row| row.id == id);
        left.into_iter().for_each(|at| self.keep(at));
    }

    /// One token more for each answer. Those that are over are in the batch no more.
    ///
    /// # Errors
    /// The device does not answer; then the batch is empty, and so is what it kept.
    pub async fn step(&mut self) -> Result<Vec<Progress>, Problem> {
        let stepped = self.stepped().await;
        if stepped.is_err() {
            self.rows.clear();
            self.kept.clear();
        }
        stepped
    }

    async fn stepped(&mut self) -> Result<Vec<Progress>, Problem> {
        // Rows of one adapter are neighbours: its products are made once.
        self.rows.sort_by_key(|row| row.which);
        let Self { served, rows, .. } = self;
        let mixed_as = |row: &Row<'_>| served.mixed_as.get(row.which).copied().flatten();
        let mut progress = Vec::new();
        let mut steps: Vec<Vec<&mut Row<'a>>> = vec![Vec::new()];
        for row in rows.iter_mut() {
            match (mixed_as(row), &mut steps[..]) {
                (Some(_), [together, ..]) => together.push(row),
                (None, [.., last]) if last.first().is_some_and(|other| other.which == row.which) => last.push(row),
                _ => steps.push(vec![row]),
            }
        }
        for mut step in steps.into_iter().filter(|step| !step.is_empty()) {
            let first = step[0].which;
            let alike = step.iter().all(|row| row.which == first);
            let adapters: Vec<usize> = step.iter().filter_map(|row| mixed_as(row)).collect();
            let (model, adapters) = match alike {
                true => (&served.models[first], None),
                false => (&served.mixed, Some(adapters.as_slice())),
            };
            let mut texts: Vec<&mut CachedText> = step.iter_mut().map(|row| row.reply.text_mut()).collect();
            let logits = next_logits(model, &mut texts, adapters).await?;
            for (row, logits) in step.into_iter().zip(logits) {
                let (text, finish) = row.reply.take(&logits)?;
                progress.push(Progress { id: row.id, text, finish, tokens: row.reply.tokens() });
            }
        }
        for done in progress.iter().filter(|of_row| of_row.finish.is_some()) {
            self.leave(done.id);
        }
        Ok(progress)
    }

    /// Takes a row out, and keeps its text for a while.
    fn keep(&mut self, at: usize) {
        let Row { which, reply, .. } = self.rows.remove(at);
        self.kept.push((which, reply.into_text()));
        let beyond = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..beyond);
    }
}
