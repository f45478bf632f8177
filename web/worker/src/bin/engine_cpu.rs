//! The small engine: the CPU device alone. It is loaded first, and stays where there is no usable GPU.

fn main() {
    stratune_worker::start();
}
