// Reading a matrix of floats four at a time; `quantized.wgsl` is the same for fewer bits.
//
// Bindings
//   1  rhs  lines × length, the length a multiple of 4

@group(0) @binding(1) var<storage, {{ input_access }}> rhs: array<vec4<f32>>;

// From the beginning of a line to that of the next.
fn fours_of_line(length: u32) -> u32 {
    return length / 4u;
}
fn stored_four(i: u32) -> vec4<f32> {
    return rhs[i];
}
