// The gated activation's gradients: d_gate = dy up σ (1 + gate (1 − σ)), d_up = dy gate σ, with σ of the gate.
//
// Bindings
//   0  gate
//   1  up
//   2  dy
//   3  d_gate  written whole, never read
//   4  d_up    written whole, never read
//   5  size    (numbers / 4, 0, 0, 0)
// Contiguous f32 of one length, a multiple of 4.
//
// Launch
//   ⌈numbers / 256⌉ workgroups, in a grid of any width

@group(0) @binding(0) var<storage, {{ input_access }}> gate: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> d_gate: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> d_up: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> size: vec4<u32>;

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
    let open = 1.0 / (1.0 + exp(-max(g, vec4<f32>(-80.0))));
    let dy_open = dy[at] * open;
    d_gate[at] = dy_open * up[at] * (1.0 + g * (1.0 - open));
    d_up[at] = dy_open * g;
}
