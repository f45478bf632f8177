// Root-mean-square norm: y = x r w, with r = 1 / sqrt(mean(x²) + eps) of each row.
//
// Bindings
//   0  x       rows × width
//   1  weight  width
//   2  y       rows × width, written whole, never read
//   3  size    (rows, width / 4, bits of eps, 0)
// Contiguous f32, four at a time: the width is a multiple of 4.
//
// Launch
//   ⌈rows LANES / 64⌉ workgroups, in a grid of any width: LANES invocations share a row, a power of two. With one, on a
//   software adapter, workgroup memory and the barrier are not used: they cost there. Appended is `lanes.wgsl`,
//   which brings `sum_of_lanes`.

const LANES = {{ lanes }}u;

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> size: vec4<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let row = (workgroup.y * workgroups.x + workgroup.x) * (64u / LANES) + i / LANES;
    let lane = i % LANES;
    // Beyond the last row there is nothing to do.
    let width = select(0u, size.y, row < size.x);
    let start = row * size.y;
    var sum = 0.0;
    for (var c = lane; c < width; c += LANES) {
        let v = x[start + c];
        sum += dot(v, v);
    }
    let r = inverseSqrt(sum_of_lanes(i, vec2<f32>(sum, 0.0)).x / f32(4u * size.y) + bitcast<f32>(size.z));
    for (var c = lane; c < width; c += LANES) {
        y[start + c] = x[start + c] * r * weight[c];
    }
}
