//! Several adapters in one model: weighted together, or each for rows of its own.

use std::rc::Rc;

use stratune_peft::{Mixture, Part};
use stratune_protocol::Problem;

use crate::Model;

impl Model {
    /// This model with several adapters, each given as the model with that adapter alone and its weight. Tensors are
    /// shared, not copied.
    ///
    /// # Errors
    /// An adapter does more than enter the linear layers, so that its effect cannot be weighted or kept to some rows.
    pub fn mixed(&self, adapters: Vec<(Self, f32)>) -> Result<Self, Problem> {
        let mut mixed = self.clone();
        for (k, (mut model, weight)) in adapters.into_iter().enumerate() {
            if model.enters_beyond_linear() {
                return Err(Problem::input(format!("adapter {} does not enter linear layers alone", k + 1))
                    .next("give it alone: only what enters linear layers can be mixed"));
            }
            let shared = Rc::new(model.shared.clone());
            for (of_mixed, of_model) in mixed.layers.iter_mut().zip(&mut model.layers) {
                for (of_mixed, of_model) in of_mixed.linears_mut().zip(of_model.linears_mut()) {
                    let deltas = std::mem::take(&mut of_model.deltas);
                    if deltas.is_empty() {
                        continue;
                    }
                    let part = Part { adapter: k + 1, weight, deltas, shared: shared.clone() };
                    match of_mixed.deltas.last_mut().and_then(|delta| delta.of_mut::<Mixture>()) {
                        Some(mixture) => mixture.parts.push(part),
                        None => of_mixed.deltas.push(Box::new(Mixture { parts: vec![part] })),
                    }
                }
            }
        }
        Ok(mixed)
    }

    /// The same model, in which row i of a batch gets adapter `rows[i]` alone: 1 is the first, 0 none.
    pub fn for_rows(&self, rows: &[usize]) -> Self {
        Self { row_adapters: Some(rows.into()), ..self.clone() }
    }

    /// Whether methods are anywhere but in the linear layers' additions.
    fn enters_beyond_linear(&mut self) -> bool {
        let blocks = self.layers.iter_mut().any(|block| {
            let linear = block.linears_mut().any(|linear| linear.weight.trains());
            let norms = block.norms_mut().any(|norm| norm.tuned.is_some() || norm.weight.trainable);
            linear || norms || !block.adapters.is_empty() || block.self_attn.prefix.is_some()
        });
        blocks
            || self.prompt.is_some()
            || self.ladder.is_some()
            || self.last_norms_mut().any(|norm| norm.tuned.is_some())
    }
}
