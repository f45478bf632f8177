// The gated activation: y = gate σ(gate) up.
//
// Bindings
//   0  gate
//   1  up
//   2  y     written whole, never read
//   3  size  (numbers / 4, 0, 0, 0)
// Contiguous f32 of one length, a multiple of 4.
//
// Launch
//   ⌈numbers / 256⌉ workgroups, in a grid of any width

@group(0) @binding(0) var<storage, {{ input_access }}> gate: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> size: vec4<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let at = (workgroup.y * workgroups.x + workgroup.x) * 64u + i;
    if at >= size.x {
        return;
    }
    let g = gate[at];
    // Below −80 the exponential leaves the range of f32, and σ is as good as zero.
    y[at] = g / (1.0 + exp(-max(g, vec4<f32>(-80.0)))) * up[at];
}
