//! What the model itself takes: as it is kept, and as it is read.

use stratune_peft::{Enters, MethodConfig};
use stratune_protocol::{BaseDtype, ComputeDtype, ModelReport, Module, WeightBytes};
use stratune_train::RunConfig;

use super::Conditions;

/// Bytes of the table of a model's modules, which is there with it; each module knows its path once more.
pub(super) fn table_of(model: &ModelReport) -> u64 {
    let row = |module: &Module| size_of::<Module>() + 2 * module.path.len() + size_of_val(&module.shape[..]);
    model.modules.iter().map(row).sum::<usize>() as u64
}

impl Conditions<'_> {
    /// Bytes of the model as it is kept.
    pub(super) fn base(&self, config: &RunConfig) -> u64 {
        let (model, dtype) = (self.model, self.base_dtype(config));
        let (d, layers) = (model.hidden_size as f64, model.layers as f64);
        // Whatever is no matrix stays as it is, and so do biases.
        let vector = |module: &Module| {
            let bias = if module.bias { module.shape[0] } else { 0 };
            bias + if module.shape.len() == 1 { module.count() } else { 0 }
        };
        let norms = model.modules.iter().map(vector).sum::<usize>() as f64;
        if let Some(WeightBytes { blocks, embeddings }) = model.in_file.filter(|_| dtype == BaseDtype::File) {
            return table_of(model) + (4.0 * norms) as u64 + blocks + embeddings;
        }
        let tables = (model.parameters as f64 - norms - layers * model.block_matrices()).max(0.0);
        let tables = dtype.of_embeddings().bytes(tables / d.max(1.0), d);
        table_of(model) + (4.0 * norms + layers * self.block(dtype) + tables) as u64
    }

    /// What the base is kept as.
    pub(super) fn base_dtype(&self, config: &RunConfig) -> BaseDtype {
        config.base_dtype.resolved(self.model.in_file.is_some())
    }

    /// Bytes of the matrices of a block.
    fn block(&self, dtype: BaseDtype) -> f64 {
        let of = |module: &Module| {
            let [outputs, inputs] = module.sides();
            dtype.bytes(outputs as f64, inputs as f64)
        };
        self.model.linears().map(of).sum::<f64>() / self.model.layers.max(1) as f64
    }

    /// Bytes of the blocks' matrices in few bits beside the model, where the method keeps them so.
    pub(super) fn few_bits(&self, methods: &[MethodConfig]) -> u64 {
        let quantized = methods.iter().find_map(MethodConfig::quantized_dtype);
        quantized.map_or(0, |dtype| (self.model.layers as f64 * self.block(dtype)) as u64)
    }

    /// Rows of a piece of the embedding; what trains is in one.
    pub(super) fn rows_of_a_piece(&self, config: &RunConfig) -> usize {
        let table = [self.model.vocabulary, self.model.hidden_size];
        match config.method.iter().any(|method| matches!(method.kind.method().enters, Enters::Whole)) {
            true => table[0],
            false => self.device.weight_storage(self.base_dtype(config)).rows_of_a_piece(table),
        }
    }

    /// A packed matrix of a block, and the output layer, as floats, where products do not read what is packed; in
    /// half precision where they multiply those. In floats' worth of memory.
    pub(super) fn dequantized(&self, config: &RunConfig) -> [f64; 2] {
        let model = self.model;
        let halves = config.compute_dtype != ComputeDtype::F32;
        let of = |quantized: bool, [rows, columns]: [usize; 2]| match (quantized, halves) {
            _ if self.fuses() => 0.0,
            // Other sides are multiplied as floats.
            (_, true) if [rows, columns].iter().all(|side| side.is_multiple_of(4)) => {
                0.5 * rows as f64 * columns as f64
            }
            (true, _) => rows as f64 * columns as f64,
            (false, _) => 0.0,
        };
        let base = self.base_dtype(config) != BaseDtype::F32;
        let block = base || config.method.iter().any(|m| m.quantized_dtype().is_some());
        [of(block, [model.hidden_size, model.intermediate_size]), of(base, [model.vocabulary, model.hidden_size])]
    }
}

#[cfg(test)]
mod tests {
    use stratune_peft::MethodKind;
    use stratune_protocol::{AdapterInfo, Limits, Targets, Verdict};

    use super::super::Forecast;
    use super::super::memory::tests::{config, model};
    use super::*;

    /// A table of 100 rows of 16 bytes, or of 36 with 8 bits, where a buffer takes 1000: pieces of 60, 24 and 8 rows.
    #[test]
    fn the_largest_buffer_is_a_piece_unless_the_table_trains() {
        let model = ModelReport { vocabulary: 100, ..model() };
        let limits = Limits { memory: None, buffer: Some(1000) };
        let gpu = AdapterInfo { device: "wgpu".into(), limits, ..AdapterInfo::default() };
        let on = Conditions { model: &model, device: &gpu, width: Some(1) };
        let lora =
            MethodConfig { rank: Some(1), targets: Some(Targets::listed(&["q_proj"])), ..MethodConfig::default() };
        let whole = Conditions { device: &AdapterInfo { limits: Limits::default(), ..gpu.clone() }, ..on };
        for (method, base_dtype, piece, table) in [
            (lora.clone(), BaseDtype::F32, 60 * 16, 1600),
            (lora.clone(), BaseDtype::Int8, 24 * 36, 3600),
            (lora.clone(), BaseDtype::Int4, 24 * 36, 3600),
            (MethodConfig { blocks: Some(1), ..MethodConfig::new(MethodKind::Lisa) }, BaseDtype::F32, 1600, 1600),
        ] {
            let mut run = RunConfig { base_dtype, ..config(method) };
            run.train.batch_size = 1;
            let (split, one) = (on.forecast(&run), whole.forecast(&run));
            assert_eq!((split.largest, one.largest), (piece, table), "{base_dtype}");
            let verdict = if piece <= 1000 { Verdict::Unknown } else { Verdict::WontFit };
            assert_eq!(split.verdict(&limits), verdict, "{base_dtype}");
            // The loss is what is at work: 100 logits, and once more where pieces are joined; four states.
            let copies = if piece < table { 2 } else { 1 };
            assert_eq!(split.work, 4 * (copies * 100 + 4 * 4), "{base_dtype}");
            assert_eq!(Forecast { work: one.work, largest: one.largest, ..split }, one);
        }
    }
}
