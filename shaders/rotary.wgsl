// Rotary positions: turns each pair (x[k], x[k + half]) of each head by the angle of its position.
//
// Bindings
//   0  x        batch × heads × seq × 2 half in any order of the first three
//   1  cosines  (batch or 1) × seq × half
//   2  sines    likewise
//   3  y        batch × seq × heads × 2 half, written whole, never read
//   4  numbers  (pairs in all, heads, seq, half), (distance of rows of the batch of x, of heads, of positions, 1 if each
//               row of the batch has angles of its own), (bits of what sines are multiplied by: 1 forth, −1 back, 0, 0, 0)
// f32, one or four at a time, in which pairs, halves and distances are counted.
//
// Launch
//   ⌈pairs / 64⌉ workgroups, in a grid of any width

alias Part = {{ part }};

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<Part>;
@group(0) @binding(1) var<storage, {{ input_access }}> cosines: array<Part>;
@group(0) @binding(2) var<storage, {{ input_access }}> sines: array<Part>;
@group(0) @binding(3) var<storage, read_write> y: array<Part>;
@group(0) @binding(4) var<storage, read> numbers: array<vec4<u32>, 3>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let pair = (workgroup.y * workgroups.x + workgroup.x) * 64u + i;
    let size = numbers[0];
    if pair >= size.x {
        return;
    }
    let k = pair % size.w;
    let head = pair / size.w % size.y;
    let position = pair / (size.w * size.y) % size.z;
    let row = pair / (size.w * size.y * size.z);
    let strides = numbers[1];
    let start = row * strides.x + head * strides.y + position * strides.z + k;
    let angle = (row * strides.w * size.z + position) * size.w + k;
    let cosine = cosines[angle];
    let sine = sines[angle] * bitcast<f32>(numbers[2].x);
    let one = x[start];
    let other = x[start + size.w];
    let to = pair / size.w * 2u * size.w + k;
    y[to] = one * cosine - other * sine;
    y[to + size.w] = other * cosine + one * sine;
}
