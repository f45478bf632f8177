// One step of AdamW on a parameter, or on several that lie side by side; their moments in place. What lies between them
// moves too, and nobody reads it.
//
// Bindings
//   0  value     count
//   1  gradient  count
//   2  factor    1; what the gradient is multiplied by
//   3  moved     count: the parameter after the step, written whole, never read
//   4  first     count, read and written
//   5  second    count, read and written
//   6  numbers   (count, 0, bits of β₁, of β₂), (bits of ε, of 1 − ηλ, of η / (1 − β₁ᵗ), of 1 / (1 − β₂ᵗ))
// Contiguous f32 of any length.
//
// Launch
//   ⌈count / 64⌉ workgroups, in a grid of any width

@group(0) @binding(0) var<storage, {{ input_access }}> value: array<f32>;
@group(0) @binding(1) var<storage, {{ input_access }}> gradient: array<f32>;
@group(0) @binding(2) var<storage, {{ input_access }}> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> moved: array<f32>;
@group(0) @binding(4) var<storage, read_write> first: array<f32>;
@group(0) @binding(5) var<storage, read_write> second: array<f32>;
@group(0) @binding(6) var<storage, read> numbers: array<vec4<u32>, 2>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let at = (workgroup.y * workgroups.x + workgroup.x) * 64u + i;
    if at >= numbers[0].x {
        return;
    }
    let beta = bitcast<vec2<f32>>(numbers[0].zw);
    let rest = bitcast<vec4<f32>>(numbers[1]);
    let g = gradient[at] * factor[0];
    let m = beta.x * first[at] + (1.0 - beta.x) * g;
    let v = beta.y * second[at] + (1.0 - beta.y) * g * g;
    first[at] = m;
    second[at] = v;
    moved[at] = rest.y * value[at] - rest.z * m / (sqrt(rest.w * v) + rest.x);
}
