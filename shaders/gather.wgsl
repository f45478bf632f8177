// Tensors laid side by side, and the sums of their squares: 64 numbers that add up to Σ x², at a place among others.
//
// Bindings, with N = PARTS
//   0 .. N − 1  parts; those that are not there have an empty span
//   N           joined  `from .. to` is written, the rest stays
//   N + 1       sums    `at .. at + 64` are written, the others stay
//   N + 2       size    (from, to, at, 0), then for each part its span of `joined`: (start, end, 0, 0)
// Contiguous f32. Spans do not overlap; what is in none becomes 0.
//
// Launch
//   LANES workgroups: LANES invocations share one of the 64 places, as those of `rms_norm.wgsl` share a row

const PARTS = {{ parts }}u;
const LANES = {{ lanes }}u;

@group(0) @binding($p) var<storage, {{ input_access }}> part$p: array<f32>;
@group(0) @binding({{ joined_binding }}) var<storage, read_write> joined: array<f32>;
@group(0) @binding({{ sums_binding }}) var<storage, read_write> sums: array<f32>;
@group(0) @binding({{ size_binding }}) var<storage, read> size: array<vec4<u32>, 1u + PARTS>;

var<workgroup> shared_sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let lane = i % LANES;
    var sum = 0.0;
    for (var at = size[0].x + workgroup.x * 64u + i; at < size[0].y; at += 64u * LANES) {
        var number = 0.0;
        if at >= size[1u + $pu].x && at < size[1u + $pu].y { number = part$p[at - size[1u + $pu].x]; }
        joined[at] = number;
        sum += number * number;
    }
    if LANES > 1u {
        shared_sums[i] = sum;
        workgroupBarrier();
    }
    if lane == 0u {
        for (var k = 1u; k < LANES; k++) {
            sum += shared_sums[i + k];
        }
        sums[size[0].z + workgroup.x * (64u / LANES) + i / LANES] = sum;
    }
}
