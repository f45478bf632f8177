//! The memory of a step, by formula.

use serde::Serialize;
use stratune_peft::{Enters, MethodConfig, Moving, SideShape, blocks_that_fit, graph};
use stratune_protocol::{AdapterInfo, ModelReport, OptimiserKind, loss_rows};
use stratune_train::RunConfig;

/// Queries whose scores exist at once, where they are held at all.
const SCORED: usize = 256;

/// What a run meets.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// The model.
    pub model: &'a ModelReport,
    /// The device.
    pub device: &'a AdapterInfo,
    /// Positions of the longest row, padding included; none: as many as the configuration allows.
    pub width: Option<usize>,
}

/// The most bytes that are held at once, in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// The model as it is kept, and in few bits beside it where the method wants that.
    pub weights: u64,
    /// What trains: its values, and those with the lowest validation loss.
    pub values: u64,
    /// Gradients and AdamW's two moments; with MeZO the parameters of a block on either side.
    pub optimiser: u64,
    /// The graphs that are kept from the way up.
    pub graphs: u64,
    /// The batch, and the inputs of the blocks that run again.
    pub inputs: u64,
    /// What is at work, whichever takes more: a block, with its graph if it runs again and the gradients inside it, or
    /// the logits of some rows with the states they are made of.
    pub work: u64,
    /// On the CPU: what writing a checkpoint takes beyond what a step does at other times.
    pub checkpoint: u64,
    /// The largest single buffer.
    pub largest: u64,
}

impl Forecast {
    /// The parts with their names, in the order of a step.
    pub fn parts(&self) -> [(&'static str, u64); 7] {
        [
            ("model", self.weights),
            ("what trains", self.values),
            ("gradients and moments", self.optimiser),
            ("graphs kept", self.graphs),
            ("inputs of blocks", self.inputs),
            ("block or loss at work", self.work),
            ("checkpoint", self.checkpoint),
        ]
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.parts().into_iter().map(|(_, bytes)| bytes).fold(0, u64::saturating_add)
    }
}

/// So many floats; no number is too large for it.
fn floats(count: f64) -> u64 {
    (4.0 * count) as u64
}

impl Conditions<'_> {
    /// The memory of a run with this configuration. Not counted: the search of methods that look at rows first, answers
    /// while training, and what the device's own pools leave unused.
    pub fn forecast(&self, config: &RunConfig) -> Forecast {
        let model = self.model;
        let methods = &config.method;
        let (d, m, layers) = (model.hidden_size as f64, model.intermediate_size as f64, model.layers as f64);
        let width = (self.width.unwrap_or(usize::MAX).min(config.data.max_length).min(model.context.max(1)) as f64)
            + methods.virtual_tokens() as f64;
        let rows = config.train.batch_size as f64;
        let positions = rows * width;

        let trained = methods.trainable(model) as f64;
        let side = methods.iter().find(|m| matches!(m.kind.method().enters, Enters::Side));
        let side = side.and_then(|m| SideShape::of(model, m.reduction.unwrap_or(1)));
        let descends = config.train.optimiser == OptimiserKind::Adamw;
        let copies = if config.data.holds_out() { 2.0 } else { 1.0 };
        let kept = match descends && side.is_none() {
            true => blocks_that_fit(model, methods, positions as usize, config.train.graph_memory)
                .max(config.train.keep_graphs)
                .min(model.layers) as f64,
            false => 0.0,
        };

        let block_graph = graph(model, methods, positions);
        let (scores, logit_copies) = if self.fuses() { (0.0, 1.0) } else { (3.0 * self.scores(rows, width), 3.0) };
        let (graphs, states, block) = match side {
            // A ladder's blocks are like the model's, narrower; it reads what every block leaves.
            Some(side) => {
                let (w, inner) = (side.hidden_size as f64, side.intermediate_size as f64);
                (layers * positions * (12.0 * w + 3.0 * inner), layers + 1.0, self.forward(positions))
            }
            None if descends => {
                let again = if kept < layers { block_graph } else { 0.0 };
                (kept * block_graph, layers - kept, again + positions * (3.0 * m + 2.0 * d))
            }
            None => (0.0, 0.0, self.forward(positions)),
        };
        let logits = positions.min(loss_rows(model.vocabulary) as f64) * model.vocabulary as f64;
        let piece = self.rows_of_a_piece(config);
        // The logits of pieces are joined, and on the way down their gradient is taken apart.
        let logit_copies = if piece < model.vocabulary { logit_copies + 1.0 } else { logit_copies };
        let table = self.base_dtype(config).of_embeddings().bytes(piece as f64, d);
        let (gradients, moments) = if descends { self.moved(config) } else { (self.shifted(methods), 0.0) };
        let inputs = (states + 2.0) * positions * d + 3.0 * positions;
        let [dequantized, unpacked_head] = self.dequantized(config);
        let loss = logit_copies * logits + 4.0 * positions * d + unpacked_head;
        let work = (block + scores + dequantized).max(loss);
        // A checkpoint's numbers are there as tensors and once more as the file's bytes. MeZO's values follow from its
        // moves.
        let written = moments + (copies - 1.0) * trained + if descends { trained } else { 0.0 };
        let meanwhile = gradients + graphs + inputs + work;
        let checkpoint = if self.on_cpu() { (2.0 * written - meanwhile).max(0.0) } else { 0.0 };
        Forecast {
            weights: self.base(config).saturating_add(self.few_bits(methods)),
            values: floats(copies * trained),
            optimiser: floats(gradients + moments),
            graphs: floats(graphs),
            inputs: floats(inputs),
            work: floats(work),
            checkpoint: floats(checkpoint),
            largest: floats(
                [m * d, logits, positions * m, scores / 3.0, unpacked_head].into_iter().fold(0.0, f64::max),
            )
            .max(table as u64),
        }
    }

    fn on_cpu(&self) -> bool {
        self.device.device == "cpu"
    }

    /// Whether attention and loss are made without holding scores, and logits once: by the CPU's own code, and by
    /// shaders.
    pub(super) fn fuses(&self) -> bool {
        matches!(self.device.device.as_str(), "cpu" | "wgpu")
    }

    /// What the positions of a block of queries take of each other one, of all heads.
    fn scores(&self, rows: f64, width: f64) -> f64 {
        let heads = self.model.query_size as f64 / self.model.head_dim.max(1) as f64;
        rows * heads * width.min(SCORED as f64) * width
    }

    /// A block without a graph.
    fn forward(&self, positions: f64) -> f64 {
        let model = self.model;
        let attention = 2 * model.query_size + 2 * model.key_value_size;
        positions * (3 * model.hidden_size + attention.max(3 * model.intermediate_size)) as f64
    }

    /// Gradients, and moments, of what trains at a step.
    fn moved(&self, config: &RunConfig) -> (f64, f64) {
        let model = self.model;
        // While batches are added up, the gradients of one are held beside the sum.
        let gradients = if config.train.accumulation > 1 { 2.0 } else { 1.0 };
        let of = |method: &MethodConfig| {
            let moving = moving(method, model);
            (gradients * moving.gradients, moving.moments)
        };
        config.method.iter().map(of).fold((0.0, 0.0), |(g, m), (gradients, moments)| (g + gradients, m + moments))
    }

    /// MeZO's parameters of one block, moved, and the direction they are moved along.
    fn shifted(&self, methods: &[MethodConfig]) -> f64 {
        methods.iter().map(|method| moving(method, self.model).shifted).sum()
    }
}

fn moving(method: &MethodConfig, model: &ModelReport) -> Moving {
    (method.kind.method().moving)(method, model)
}

#[cfg(test)]
pub(super) mod tests {
    use stratune_peft::MethodKind;
    use stratune_protocol::{BaseDtype, ComputeDtype, Targets};

    use super::super::kept::table_of;
    use super::*;

    /// 2 blocks: q and o of 4 × 4, k and v of 2 × 4, three of 4 × 8, which is 144 numbers, and two norms of 4; a table
    /// of 10 × 4, and the last norm.
    pub fn model() -> ModelReport {
        ModelReport {
            parameters: 2 * (144 + 8) + 40 + 4,
            head_dim: 2,
            vocabulary: 10,
            context: 64,
            ..stratune_protocol::testing::model(2, [4, 8, 4, 2])
        }
    }

    pub fn config(method: MethodConfig) -> RunConfig {
        let mut config = RunConfig { method: method.into(), ..RunConfig::default() };
        config.train.batch_size = 3;
        config.train.graph_memory = 0;
        config
    }

    #[test]
    fn by_hand() {
        let (model, cpu) = (model(), AdapterInfo { device: "cpu".into(), ..AdapterInfo::default() });
        let on = Conditions { model: &model, device: &cpu, width: Some(32) };
        let lora =
            MethodConfig { rank: Some(1), targets: Some(Targets::listed(&["q_proj"])), ..MethodConfig::default() };
        // 3 rows of 32 are 96 positions; rank 1 at q is 4 + 4 numbers in each of 2 blocks.
        let (n, trained) = (96, 16);
        let graph = n * (48 + 2);
        let want = Forecast {
            weights: 4 * 348 + table_of(&model),
            values: 4 * 2 * trained,
            optimiser: 4 * 3 * trained,
            graphs: 0,
            inputs: 4 * (4 * n * 4 + 3 * n),
            work: 4 * (graph + n * (3 * 8 + 2 * 4)),
            checkpoint: 0,
            largest: 4 * n * 10,
        };
        let mut run = config(lora.clone());
        assert_eq!(on.forecast(&run), want);
        assert_eq!(want.bytes(), want.parts().iter().map(|p| p.1).sum::<u64>());
        // A block's graph is 19,200 bytes: both are kept, and none runs again.
        run.train.graph_memory = 1;
        let keeps =
            Forecast { graphs: 2 * 4 * graph, inputs: 4 * (2 * n * 4 + 3 * n), work: 4 * n * (3 * 8 + 2 * 4), ..want };
        assert_eq!(on.forecast(&run), keeps);
        // Batches that are added up hold their gradients beside the sum; nothing held out, no best values.
        (run.train.accumulation, run.data.validation_split) = (2, 0.0);
        assert_eq!(on.forecast(&run), Forecast { optimiser: 4 * 4 * trained, values: 4 * trained, ..keeps });
        // MeZO has no graph, and shifts one block: 8 numbers and their direction.
        let mut mezo = config(lora.clone());
        mezo.train.optimiser = OptimiserKind::Mezo;
        assert_eq!(
            on.forecast(&mezo),
            Forecast { optimiser: 4 * 2 * 8, graphs: 0, work: 4 * n * (3 * 4 + 3 * 8), ..keeps }
        );
        // Few bits: each of a block's 32 rows is one group of 20 bytes. Where there are no shaders one matrix is
        // unpacked at a time, and the scores of 2 heads are held.
        let few = config(MethodConfig { kind: MethodKind::Qlora, bits: Some(4), ..lora.clone() });
        let on_cpu = on.forecast(&few);
        assert_eq!(on_cpu, Forecast { weights: want.weights + 2 * 32 * 20, ..want });
        let gpu = |device: &str| AdapterInfo { device: device.into(), ..AdapterInfo::default() };
        let [on_gpu, on_wgpu] = ["cuda", "wgpu"].map(|device| Conditions { device: &gpu(device), ..on }.forecast(&few));
        assert_eq!((on_wgpu.weights, on_wgpu.work), (on_gpu.weights, on_cpu.work));
        assert_eq!(on_gpu.work, on_cpu.work + 4 * 32 + 4 * 3 * 3 * 2 * 32 * 32);
        assert_eq!(on_gpu.largest, 4 * 3 * 2 * 32 * 32);
        // In half precision a copy of a matrix, packed or not.
        let halves = RunConfig { compute_dtype: ComputeDtype::Bf16, ..few.clone() };
        let work = |device: &str| Conditions { device: &gpu(device), ..on }.forecast(&halves).work;
        assert_eq!((work("cuda"), work("wgpu")), (on_gpu.work - 2 * 32, on_wgpu.work));
        // A packed base: 20 floats of norms, 32 rows a block, and ten rows of the table, of 36 bytes in both.
        for (dtype, of_block, of_table) in
            [(BaseDtype::F16, 64, 64), (BaseDtype::Int8, 36, 36), (BaseDtype::Int4, 20, 36)]
        {
            let mut quantized = config(lora.clone());
            quantized.base_dtype = dtype;
            let weights = table_of(&model) + 4 * 20 + 2 * 32 * of_block + 10 * of_table;
            assert_eq!(on.forecast(&quantized), Forecast { weights, ..want }, "{dtype}");
        }
    }

    #[test]
    fn what_trains_a_few_blocks_at_a_time_or_in_few_directions_has_smaller_moments() {
        let (model, cpu) = (model(), AdapterInfo { device: "cpu".into(), ..AdapterInfo::default() });
        let on = Conditions { model: &model, device: &cpu, width: None };
        let of = |method| on.forecast(&config(method)).optimiser;
        assert_eq!(of(MethodConfig::new(MethodKind::Full)), 4 * 3 * 2 * 144);
        let lisa = MethodConfig { blocks: Some(1), ..MethodConfig::new(MethodKind::Lisa) };
        assert_eq!(of(lisa), 4 * 3 * (152 + 44));
        let galore = MethodConfig {
            rank: Some(1),
            targets: Some(Targets::listed(&["down_proj"])),
            ..MethodConfig::new(MethodKind::Galore)
        };
        assert_eq!(of(galore), 4 * (2 * 32 + 2 * (2 * 8 + 4)));
    }

    /// Full tuning on one token: a step takes 19 floats of inputs, 88 of a block and 288 of gradients, the checkpoint
    /// twice two moments, values and the best values.
    #[test]
    fn a_checkpoint_may_be_the_peak() {
        let (model, cpu) = (model(), AdapterInfo { device: "cpu".into(), ..AdapterInfo::default() });
        let mut run = config(MethodConfig::new(MethodKind::Full));
        run.train.batch_size = 1;
        let on = Conditions { model: &model, device: &cpu, width: Some(1) };
        assert_eq!(on.forecast(&run).checkpoint, 4 * (2 * 4 * 288 - (19 + 88 + 288)));
        let gpu = AdapterInfo::default();
        assert_eq!(Conditions { device: &gpu, ..on }.forecast(&run).checkpoint, 0);
    }

    /// No configuration is too large to be forecast.
    #[test]
    fn absurd_numbers_saturate() {
        let (model, cpu) = (model(), AdapterInfo::default());
        let mut run = config(MethodConfig::default());
        (run.train.batch_size, run.data.max_length, run.train.graph_memory) = (usize::MAX, usize::MAX, usize::MAX);
        run.train.keep_graphs = usize::MAX;
        assert_eq!(Conditions { model: &model, device: &cpu, width: None }.forecast(&run).bytes(), u64::MAX);
    }
}
