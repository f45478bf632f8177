// Sums of squares: 64 numbers that add up to Σ x², at a place among others.
//
// Bindings
//   0  x     count
//   1  sums  `from` .. `from + 64` are written, the others stay
//   2  size  (count, from, 0, 0)
// Contiguous f32 of any length.
//
// Launch
//   LANES workgroups: LANES invocations share one of the 64 places, as those of `rms_norm.wgsl` share a row,
//   and the same is appended

const LANES = {{ lanes }}u;

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<storage, read> size: vec4<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let lane = i % LANES;
    var sum = 0.0;
    for (var at = workgroup.x * 64u + i; at < size.x; at += 64u * LANES) {
        sum += x[at] * x[at];
    }
    sum = sum_of_lanes(i, vec2<f32>(sum, 0.0)).x;
    if lane == 0u {
        sums[size.y + workgroup.x * (64u / LANES) + i / LANES] = sum;
    }
}
