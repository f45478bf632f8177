//! What is held beside a model while it is read.

use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_kernels::{Quantized, QuantizedDtype};
use stratune_models::Entry;
use stratune_protocol::BaseDtype;
use stratune_runtime::{block_on, memory_in_use, peak_host_memory, read_f32, reset_peak_host_memory};
use stratune_session::read_model;
use stratune_store::{HostTensor, MemoryFolder, ModelFolder, Stored, write_safetensors};

use super::turn;

/// Bytes beside the model: of two million numbers, four of a file of f16 and eight of floats, and one for all else. The
/// table that is read has eight times as many, 64 MiB of floats or 18 of 8 bits.
const MAX: u64 = 13 << 20;

/// A table goes to the device as it comes, and lies there as it would have, had it come at once.
#[test]
fn reading_holds_little_beside_the_model() {
    let _turn = turn();
    let device = Device::flex();
    let (rows, columns) = (65_533, 256);
    let values = [("vocab_size", rows.into()), ("hidden_size", columns.into()), ("num_hidden_layers", 1.into())];
    let config = super::model("llama", BaseDtype::F32, &device).config.changed(values).unwrap();
    // Multiples of 1/2048 below a quarter, which f16 holds.
    let number = |i: usize| (i % 1021) as f32 / 2048.0 - 0.25;
    let folder = {
        let tensor = |Entry { name, shape, .. }: Entry| {
            let data = (0..shape.iter().product()).map(number).collect();
            (name, HostTensor { shape, data })
        };
        let tensors = config.layout().into_iter().map(tensor).collect();
        let weights = write_safetensors(&tensors, Stored::F16, &Default::default()).unwrap();
        let files = [("config.json", config.to_json().to_string().into_bytes()), ("model.safetensors", weights)];
        let files = files.map(|(name, bytes)| (name.to_string(), Cow::Owned(bytes)));
        Rc::new(MemoryFolder::new("large", Vec::from(files)))
    };
    let files = block_on(ModelFolder::open(folder)).unwrap();
    let table: Vec<f32> = (0..rows * columns).map(number).collect();
    for dtype in [BaseDtype::F32, BaseDtype::F16, BaseDtype::Int4] {
        reset_peak_host_memory();
        let model = block_on(read_model(&files, dtype.into(), &device, &mut |_| {})).unwrap();
        let beside = peak_host_memory() - memory_in_use(&device);
        println!("{dtype}: {beside} bytes beside the model");
        assert!(beside <= MAX, "{dtype}: {beside} bytes");
        let there = block_on(model.embed_tokens.read()).unwrap();
        let whole = |dtype| Quantized::new(&table, [rows, columns], dtype, &device);
        let expected = match dtype {
            BaseDtype::F32 => table.clone(),
            BaseDtype::F16 => block_on(read_f32(whole(QuantizedDtype::F16).dense())).unwrap(),
            _ => block_on(read_f32(whole(QuantizedDtype::Int8).dense())).unwrap(),
        };
        assert!(there == expected, "{dtype}");
    }
}
