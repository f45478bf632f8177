//! What the methods share that look at rows before they train.

use burn::tensor::Tensor;
use rand::seq::SliceRandom;
use stratune_data::Sequence;
use stratune_models::Model;
use stratune_peft::{Delta, Gradients, MethodConfig, MethodKind, Param, ParamId, Parameters, Sparse, Visitor};
use stratune_protocol::{Problem, draws};
use stratune_runtime::{read_f32, yield_now};

use crate::{Rows, Run};

/// The rows to look at, drawn from those that train; all of them where the method does not say how many.
pub(super) fn rows_to_look_at<'a>(run: &Run<'a>, method: &MethodConfig) -> Vec<&'a Sequence> {
    let mut rows: Vec<&Sequence> = run.rows(Rows::Train).iter().collect();
    rows.shuffle(&mut draws(run.config.train.seed, "scout_rows", [0, 0]));
    rows.truncate(method.samples.filter(|n| *n > 0).unwrap_or(rows.len()));
    rows
}

/// Tells how far a method's look at the rows is, and lets others have their turn.
pub(super) async fn told(run: &Run<'_>, kind: MethodKind, done: usize, total: usize) {
    (run.tell)(&format!("{} looks at the rows", kind.title()), done, total);
    yield_now().await;
}

/// Says from how many rows a method has chosen.
pub(super) fn say_chosen(run: &Run<'_>, kind: MethodKind, rows: usize) {
    run.notice(format!("{} chose what trains from {rows} rows", kind.title()));
}

/// The model with nothing that trains but the whole matrices of which a method selects weights.
pub(super) struct FullGradientModel {
    pub model: Model,
    kind: MethodKind,
    /// Where the matrices are: the block, the number among its linear layers, and the path.
    matrices: Vec<(usize, usize, String)>,
}

impl FullGradientModel {
    pub fn of(model: &Model, kind: MethodKind) -> Self {
        let mut model = model.clone();
        freeze(&mut model);
        let chooses = |delta: &dyn Delta| delta.of::<Sparse>().is_some_and(|sparse| sparse.kind == kind);
        let mut matrices = Vec::new();
        for (i, block) in model.layers.iter_mut().enumerate() {
            for (k, linear) in block.linears_mut().enumerate() {
                if linear.deltas.iter().any(|delta| chooses(&**delta)) {
                    linear.weight.floats_mut().trainable = true;
                    matrices.push((i, k, linear.id.param("weight").path));
                }
                linear.deltas.clear();
            }
        }
        Self { model, kind, matrices }
    }

    /// Lets the method in `model` choose by one score a weight.
    pub async fn choose(&self, model: &mut Model, scores: &Gradients) -> Result<(), Problem> {
        for (i, k, path) in &self.matrices {
            let Some(score) = scores.get(path) else { continue };
            let score = read_f32(score.clone()).await?;
            for delta in model.layers[*i].linears_mut().nth(*k).into_iter().flat_map(|linear| &mut linear.deltas) {
                if let Some(sparse) = delta.of_mut::<Sparse>()
                    && sparse.kind == self.kind
                {
                    sparse.choose(&score);
                }
            }
        }
        Ok(())
    }
}

pub(super) fn freeze(model: &mut Model) {
    struct Freeze;
    impl Visitor for Freeze {
        fn visit<const D: usize>(&mut self, _: &ParamId, param: &mut Param<D>) {
            param.trainable = false;
        }
    }
    model.each(&mut Freeze);
}

/// Adds gradients to those that are there.
pub(super) fn add(sums: &mut Gradients, more: impl IntoIterator<Item = (String, Tensor<1>)>) {
    for (path, gradient) in more {
        let sum = match sums.remove(&path) {
            Some(there) => there + gradient,
            None => gradient,
        };
        sums.insert(path, sum);
    }
}
