// Reading a matrix of floats four at a time; `packed.wgsl` is the same for fewer bits.
//
// Bindings
//   1  rhs  lines × length, the length a multiple of 4

@group(0) @binding(1) var<storage, {{ input_access }}> rhs: array<vec4<f32>>;

fn stored_four(line: u32, at: u32, length: u32) -> vec4<f32> {
    return rhs[(line * length + at) / 4u];
}
