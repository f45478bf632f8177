// The norm's gradient with respect to its input: dx = r (dy w − x r² mean(dy w x)), r as in `rms_norm.wgsl`, made again.
//
// Bindings
//   0  x       rows × width
//   1  weight  width
//   2  dy      rows × width
//   3  dx      rows × width, written whole, never read
//   then, if dx is added to something, residual: rows × width
//   then size  (rows, width / 4, bits of eps, 0)
// Contiguous f32, four at a time: the width is a multiple of 4.
//
// Launch
//   ⌈rows LANES / 64⌉ workgroups, in a grid of any width: LANES invocations share a row, as in `rms_norm.wgsl`, and the same
//   is appended

const LANES = {{ lanes }}u;

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(4) var<storage, {{ input_access }}> residual: array<vec4<f32>>; // $with_residual
@group(0) @binding({{ size_binding }}) var<storage, read> size: vec4<u32>;

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
    // Of x², and of dy w x.
    var sum = vec2<f32>();
    for (var c = lane; c < width; c += LANES) {
        let v = x[start + c];
        sum += vec2<f32>(dot(v, v), dot(v, dy[start + c] * weight[c]));
    }
    let mean = sum_of_lanes(i, sum) / f32(4u * size.y);
    let r = inverseSqrt(mean.x + bitcast<f32>(size.z));
    let pull = r * r * mean.y;
    for (var c = lane; c < width; c += LANES) {
        var whole = r * (dy[start + c] * weight[c] - x[start + c] * pull);
        whole += residual[start + c]; // $with_residual
        dx[start + c] = whole;
    }
}
