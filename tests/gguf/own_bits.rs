//! Matrices of GGUF files stay in their own bits, and are what the file says.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use stratune_kernels::{BlockFormat, Quantized, WeightFormat};
use stratune_protocol::BaseDtype;
use stratune_runtime::{block_on, open_wgpu, read_f32};
use stratune_session::{Base, open_model, report_of};
use stratune_store::{DiskFolder, Folder, Gguf, GgufFolder, ModelFolder, RowOrder, View};
use stratune_tests::families::GGUF;
use stratune_tests::runs::{RecordingCallback, trainer_of};
use stratune_tests::skipped;
use stratune_train::RunConfig;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/gguf");

fn file(name: &str) -> Rc<dyn Folder> {
    Rc::new(GgufFolder::new(Rc::new(DiskFolder::new(FIXTURES).unwrap()), name).unwrap())
}

/// The CPU, and a graphics adapter if there is one.
fn devices() -> Vec<Device> {
    let adapter = block_on(open_wgpu()).inspect_err(|problem| skipped(problem)).ok();
    [Device::flex()].into_iter().chain(adapter.map(|opened| opened.device)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What gguf-py makes of random blocks, to the bit, on the host and on every device.
#[test]
fn blocks_are_what_llama_cpp_says() {
    let gguf = block_on(Gguf::open(file("blocks.gguf"), vec!["blocks.gguf".into()])).unwrap();
    let view = |(name, shape): (String, Vec<usize>)| {
        (name.clone(), View { tensor: name, first_row: 0, shape, order: RowOrder::Same, added: 0.0 })
    };
    let views: BTreeMap<String, View> = gguf.shapes().into_iter().map(view).collect();
    let files = ModelFolder::of_gguf(gguf, vec![("config.json".into(), b"{}".to_vec())], views).unwrap();
    for format in BlockFormat::ALL {
        let (name, numbers) = (format.name(), format!("{}.f32", format.name()));
        let &[rows, columns] = files.shape(name).unwrap() else { panic!("{name} is no matrix") };
        let (raw, want) = block_on(async { (files.blocks(name, 0..rows).await, files.tensor(&numbers).await) });
        let (raw, want) = (raw.unwrap(), bits(&want.unwrap().data));
        for device in devices() {
            let quantized = Quantized::of_blocks(&raw, [rows, columns], format, &device);
            assert_eq!(quantized.format(), WeightFormat::Blocks(format));
            let dense = bits(&block_on(read_f32(quantized.dense())).unwrap());
            let differ = dense.iter().zip(&want).filter(|(have, want)| have != want).count();
            assert_eq!(differ, 0, "{name} on {device:?}, of {}", want.len());
            assert!(bits(&block_on(quantized.read()).unwrap()) == want, "{name}, read back");
        }
    }
}

/// A model of Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and f16: the same training in the file's own bits as on the floats that it says, on
/// every device and in less memory.
#[test]
fn a_model_trains_on_its_own_bits() {
    for device in devices() {
        let load = |dtype: BaseDtype| {
            let folder = file("tiny-qwen3-quantized.gguf");
            block_on(Base::load(folder, "tiny", dtype.into(), &device, &mut |_| {})).unwrap()
        };
        let (own, floats) = (load(BaseDtype::File), load(BaseDtype::F32));
        assert_eq!(own.model.formats().len(), 6, "{:?}", own.model.formats());
        let (taken, as_floats) = (own.model.weight_bytes(), floats.model.weight_bytes());
        assert!(taken.blocks * 5 < as_floats.blocks * 2, "{taken:?} of {as_floats:?}");
        // Rows of 32 are half of a pair of blocks each.
        assert!(taken.embeddings * 3 < as_floats.embeddings * 2, "{taken:?} of {as_floats:?}");
        // By the headers alone it is the same, whatever the model is kept as.
        assert_eq!((own.report().in_file, floats.report()), (Some(taken), own.report()));
        let files = block_on(open_model(file("tiny-qwen3-quantized.gguf"))).unwrap();
        assert_eq!(report_of(&files, "tiny").unwrap(), own.report());
        let ids = Tensor::<1, Int>::from_data(TensorData::from([5, 17, 3]), &device);
        let rows = |base: &Base| bits(&block_on(read_f32(base.model.embed_tokens.rows(ids.clone()))).unwrap());
        assert_eq!(rows(&own), rows(&floats));

        let mut config = RunConfig::default();
        (config.train.steps, config.train.batch_size, config.train.learning_rate) = (20, 4, 0.02);
        let losses = |base: &Base| {
            let mut recording = RecordingCallback::default();
            block_on(recording.watch(&mut trainer_of(&config, base.model.clone()))).unwrap();
            recording.losses()
        };
        let (own, floats) = (losses(&own), losses(&floats));
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(mean(&floats[15..]) < mean(&floats[..5]), "{floats:?}");
        for (own, floats) in own.iter().zip(&floats) {
            // Sums in another order, twenty steps on.
            assert!((own - floats).abs() < 1e-3, "{own} and {floats}");
        }
    }
}

/// A file of each family trains as the floats that it says do: fused layers, matrices that folders have transposed, rows in
/// another order.
#[test]
fn each_family_trains_on_its_own_bits() {
    let device = Device::flex();
    let files = GGUF.map(|family| format!("tiny-{family}.gguf"));
    for name in files.iter().map(String::as_str).chain(["tiny-gpt-neox-quantized.gguf"]) {
        let losses = [BaseDtype::File, BaseDtype::F32].map(|dtype| {
            let base = block_on(Base::load(file(name), name, dtype.into(), &device, &mut |_| {})).unwrap();
            assert!(dtype == BaseDtype::F32 || !base.model.formats().is_empty() || name.contains("llama3"), "{name}");
            let mut config = RunConfig::default();
            (config.train.steps, config.train.batch_size, config.train.learning_rate) = (8, 4, 0.02);
            let mut recording = RecordingCallback::default();
            block_on(recording.watch(&mut trainer_of(&config, base.model.clone()))).unwrap();
            recording.losses()
        });
        let [own, floats] = &losses;
        assert!(floats[7] < floats[0], "{name}: {floats:?}");
        // Sums in another order, eight steps on.
        assert!(own.iter().zip(floats).all(|(own, floats)| (own - floats).abs() < 1e-3), "{name}: {losses:?}");
    }
}
