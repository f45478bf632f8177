//! What a training step has to do, by formula: multiplications and additions, and bytes moved.

use stratune_peft::{MethodConfig, Methods};
use stratune_protocol::{BaseDtype, ModelReport};

/// A step's sides.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Rows of the batch.
    pub rows: usize,
    /// Tokens in a row.
    pub seq: usize,
    /// Blocks that the backward pass goes through, on average.
    pub depth: f64,
    /// Of these, the top ones that are not run again because their graphs are kept.
    pub kept: usize,
    /// Whether each token is followed by a prediction over the vocabulary: an encoder's are not.
    pub has_head: bool,
}

/// What it has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Floating-point operations, a multiplication and an addition being two.
    pub flops: f64,
    /// Bytes that must be moved at least: weights once a pass, trained numbers with their moments.
    pub bytes: f64,
}

impl Work {
    /// With n tokens, P numbers in a block's matrices, L blocks, depth D, T tokens in a row and Q the width of all heads:
    /// a pass over a block costs 2nP and causal attention 2nTQ. Forward passes are L and the blocks that run again; a
    /// backward pass costs 2nP for the input's gradient, 2nP more where the matrices themselves train, and 5nTQ. What
    /// methods add, t numbers, costs 6nt where it is multiplied by every token. The head costs 4n times its size.
    pub fn of(model: &ModelReport, dtype: BaseDtype, methods: &Methods, step: Step) -> Self {
        let tokens = (step.rows * step.seq) as f64;
        let matrices = model.block_matrices();
        let attention = tokens * step.seq as f64 * model.query_size as f64;
        let again = (step.depth - step.kept as f64).max(0.0);
        let passes = model.layers as f64 + again;
        let in_place = methods.iter().any(|m| m.kind.method().in_place());
        let added = if in_place { 0.0 } else { methods.trainable(model) as f64 };
        let part = step.depth / model.layers.max(1) as f64;
        let head = if step.has_head { (model.vocabulary * model.hidden_size) as f64 } else { 0.0 };
        let backward = if in_place { 2.0 } else { 1.0 };
        let flops = passes * (2.0 * tokens * matrices + 2.0 * attention)
            + step.depth * (2.0 * tokens * matrices * backward + 5.0 * attention)
            + (2.0 * passes / model.layers.max(1) as f64 + 4.0 * part) * tokens * added
            + 4.0 * tokens * head;
        let trained = methods.trainable(model) as f64 * part;
        let of_blocks = methods.iter().find_map(MethodConfig::quantized_dtype).unwrap_or(dtype);
        let bytes = |[outputs, inputs]: [usize; 2]| of_blocks.bytes(outputs as f64, inputs as f64);
        let block = model.linears().map(|module| bytes(module.sides())).sum::<f64>() / model.layers.max(1) as f64;
        let table = dtype.of_embeddings().bytes(model.vocabulary as f64, model.hidden_size as f64);
        // Value, gradient and two moments are read, and all but the gradient written.
        let bytes = block * (passes + step.depth) + 2.0 * table + 28.0 * trained;
        Self { flops, bytes }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_models::ModelConfig;
    use stratune_peft::MethodKind;

    use super::*;

    fn model() -> ModelReport {
        let json = serde_json::json!({
            "model_type": "llama", "vocab_size": 10, "hidden_size": 4, "intermediate_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 2,
        });
        ModelConfig::from_json(&json, "config.json").unwrap().report("", 0)
    }

    /// 4 matrices of 16 and 3 of 32 are 160 numbers; 3 rows of 5 are 15 tokens.
    #[test]
    fn by_hand() {
        let lora = MethodConfig { rank: Some(1), ..MethodConfig::new(MethodKind::Lora) };
        let methods: Methods = lora.into();
        let added = methods.trainable(&model()) as f64;
        let step = Step { rows: 3, seq: 5, depth: 2.0, kept: 2, has_head: true };
        let attention = 15.0 * 5.0 * 4.0;
        let want = 2.0 * (2.0 * 15.0 * 160.0 + 2.0 * attention)
            + 2.0 * (2.0 * 15.0 * 160.0 + 5.0 * attention)
            + 6.0 * 15.0 * added
            + 4.0 * 15.0 * 40.0;
        assert_eq!(Work::of(&model(), BaseDtype::F32, &methods, step).flops, want);
        // Without kept graphs every block runs once more.
        let again = Work::of(&model(), BaseDtype::F32, &methods, Step { kept: 0, ..step }).flops - want;
        assert_eq!(again, 2.0 * (2.0 * 15.0 * 160.0 + 2.0 * attention) + 2.0 * 15.0 * added);
        // An encoder has no predictions over the vocabulary.
        let without = Work::of(&model(), BaseDtype::F32, &methods, Step { has_head: false, ..step }).flops;
        assert_eq!(want - without, 4.0 * 15.0 * 40.0);
        // Matrices that train cost one product more.
        let full = Work::of(&model(), BaseDtype::F32, &MethodKind::Full.into(), step).flops;
        assert_eq!(full - (want - 6.0 * 15.0 * added), 2.0 * 2.0 * 15.0 * 160.0);
    }
}
