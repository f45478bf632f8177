//! The engine with WebGPU.

fn main() {
    stratune_worker::start();
}
