// Tensors laid side by side, and the sums of their squares: 64 numbers that add up to Σ x², at a place among others.
//
// Bindings, of N buffers
//   0 .. N − 1  one with some of the parts each
//   N           joined  `from .. to` is written, the rest stays
//   N + 1       sums    `at .. at + 64` are written, the others stay
//   N + 2       size    (from, to, at, parts), then for each part its span of `joined`, the number of its memory, and where
//                       in it it begins: (start, end, memory, begin)
// f32. Spans do not overlap; what is in none becomes 0.
//
// Launch
//   LANES workgroups: LANES invocations share one of the 64 places, as those of `rms_norm.wgsl` share a row,
//   and the same is appended

const LANES = {{ lanes }}u;

@group(0) @binding($m) var<storage, {{ input_access }}> memory$m: array<f32>;
@group(0) @binding({{ joined_binding }}) var<storage, read_write> joined: array<f32>;
@group(0) @binding({{ sums_binding }}) var<storage, read_write> sums: array<f32>;
@group(0) @binding({{ size_binding }}) var<storage, read> size: array<vec4<u32>, {{ sizes }}>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let lane = i % LANES;
    var sum = 0.0;
    for (var at = size[0].x + workgroup.x * 64u + i; at < size[0].y; at += 64u * LANES) {
        var number = 0.0;
        for (var p = 1u; p <= size[0].w; p++) {
            let part = size[p];
            if at >= part.x && at < part.y {
                let inside = at - part.x + part.w;
                if part.z == $mu { number = memory$m[inside]; }
            }
        }
        joined[at] = number;
        sum += number * number;
    }
    sum = sum_of_lanes(i, vec2<f32>(sum, 0.0)).x;
    if lane == 0u {
        sums[size[0].z + workgroup.x * (64u / LANES) + i / LANES] = sum;
    }
}
