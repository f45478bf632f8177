//! A model as one that classifies texts.

use std::rc::Rc;

use burn::tensor::{Int, Tensor};
use stratune_peft::Linear;
use stratune_protocol::{Problem, Role};

use crate::Model;
use crate::nn::Classifier;
use crate::weights::drawn_layer;

/// What PEFT calls the classifiers that it saves beside any adapter of this kind of task.
const SAVED: [&str; 2] = ["classifier", "score"];

impl Model {
    /// The same model as one that tells these labels from each other, or with `regression` says a number. A head that has
    /// just these labels already stays; another is drawn from `seed`.
    ///
    /// # Errors
    /// No model has such labels.
    pub fn with_labels(&self, labels: &[String], regression: bool, seed: u64) -> Result<Self, Problem> {
        let config = self.config.with_labels(labels, regression)?;
        let device = self.device();
        let known = self.config.classifier.as_ref().is_some_and(|of| of.labels == labels);
        let of = config.classifier.as_ref();
        let had = self.classifier.as_ref();
        let layer = |role: Role, had: Option<&Linear>, drawn: bool| {
            let module = config.module(None, role)?;
            match had.filter(|_| !drawn) {
                Some(had) => Some(had.clone()),
                None => Some(drawn_layer(module, seed, &device)),
            }
        };
        let drawn = [had.is_none_or(|of| of.drawn[0]), !known || had.is_none_or(|of| of.drawn[1])];
        let dense = had.and_then(|of| of.dense.as_ref()).map(|(dense, _)| dense);
        let dense = of.and_then(|of| of.activation).zip(layer(Role::Pooler, dense, drawn[0]));
        let out = layer(Role::Classifier, had.map(|of| &of.out), drawn[1]);
        let classifier = out.map(|out| Classifier { dense: dense.map(|(f, dense)| (dense, f)), out, drawn });
        Ok(Self { config: Rc::new(config), classifier, ..self.clone() })
    }

    /// Trains the classifier: what was drawn of it, and all that PEFT saves beside an adapter.
    pub fn train_classifier(&mut self) {
        let Some(classifier) = &mut self.classifier else { return };
        let drawn = classifier.drawn;
        // In the order of its layers; without a first one the second is all.
        let count = if classifier.dense.is_some() { 2 } else { 1 };
        for (layer, drawn) in classifier.layers_mut().zip(&drawn[2 - count..]) {
            if *drawn || is_saved(&layer.id.path) {
                layer.weight.floats_mut().trainable = true;
                layer.bias.iter_mut().for_each(|bias| bias.trainable = true);
            }
        }
    }

    /// Trains the modules of the classifier at these paths, or within them: those that an adapter has.
    pub fn train_modules(&mut self, has: impl Fn(&str) -> bool) {
        for layer in self.classifier.iter_mut().flat_map(Classifier::layers_mut) {
            if has(&layer.id.path) {
                layer.weight.floats_mut().trainable = true;
                layer.bias.iter_mut().for_each(|bias| bias.trainable = true);
            }
        }
    }

    /// The names of the modules that train beside what methods add, as PEFT's `modules_to_save` has them.
    pub fn modules_to_save(&self) -> Vec<String> {
        let Some(classifier) = &self.classifier else { return Vec::new() };
        let mut names: Vec<String> = Vec::new();
        for layer in classifier.clone().layers_mut().filter(|layer| layer.weight.trains()) {
            let path = &*layer.id.path;
            let name = match path.split_once('.') {
                // A classifier of two layers is one module.
                Some((first, _)) if is_saved(first) => first,
                // The pooler is a module with one layer.
                Some(_) => path.rsplit('.').nth(1).unwrap_or(path),
                None => path,
            };
            if !names.iter().any(|there| there == name) {
                names.push(name.into());
            }
        }
        names
    }

    /// What the classifier says of texts, one row each.
    ///
    /// # Shapes
    /// - `x`: `[rows, width, hidden]`: what leaves the last block
    /// - `at`: `[texts]`: the rows of `[rows · width]` that are read
    /// - output: `[texts, labels]`; none if the model does not classify
    pub fn classify(&self, x: Tensor<3>, at: Tensor<1, Int>) -> Option<Tensor<2>> {
        let [rows, width, hidden] = x.dims();
        let read = x.reshape([rows * width, hidden]).select(0, at);
        let read = self.final_norm(read.unsqueeze()).squeeze_dim(0);
        let context = self.inference_context(self.layers.len());
        self.classifier.as_ref().map(|classifier| classifier.forward(read, &context))
    }
}

/// Whether PEFT saves a module of this path.
fn is_saved(path: &str) -> bool {
    path.split('.').any(|name| SAVED.iter().any(|saved| name.ends_with(saved)))
}
