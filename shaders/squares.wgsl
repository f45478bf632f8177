// Sums of squares: 64 numbers that add up to Σ x², at a place among others.
//
// Bindings
//   0  x     count
//   1  sums  `from` .. `from + 64` are written, the others stay
//   2  size  (count, from, 0, 0)
// Contiguous f32 of any length.
//
// Launch
//   64 workgroups

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<storage, read> size: vec4<u32>;

var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    var sum = 0.0;
    for (var at = workgroup.x * 64u + i; at < size.x; at += 4096u) {
        sum += x[at] * x[at];
    }
    parts[i] = sum;
    workgroupBarrier();
    if i == 0u {
        sum = 0.0;
        for (var k = 0u; k < 64u; k++) {
            sum += parts[k];
        }
        sums[size.y + workgroup.x] = sum;
    }
}
