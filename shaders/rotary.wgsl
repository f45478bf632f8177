// Rotary positions: rotates each pair (x[k], x[k + half]) of each head by the angle of its position. One tensor, or
// several in one buffer, of which some are to come along as they are.
//
// Bindings
//   0  x        each part batch × heads × seq × 2 half, in any order of the first three
//   1  cosines  (batch or 1) × seq × half
//   2  sines    likewise
//   3  y        each part batch × seq × heads × 2 half, written whole, never read
//   4  numbers
// f32, one or four at a time, in which pairs, halves and distances are counted.
//
// Launch
//   ⌈pairs / 64⌉ workgroups, in a grid of any width

alias Of = {{ of }};

struct Part {
    // The number of its first pair.
    first: u32,
    heads: u32,
    // 1 if it is rotated.
    rotated: u32,
    // Between rows of the batch of x, heads, positions.
    @align(16) strides: vec3<u32>,
    // Where it begins in x and in y.
    @align(16) begins: vec2<u32>,
}

struct Numbers {
    pairs: u32,
    seq: u32,
    half: u32,
    // 1 if each row of the batch has angles of its own.
    each_row: u32,
    // What sines are multiplied by: 1 forth, −1 back.
    @size(16) sign: f32,
    parts: array<Part, {{ parts }}>,
}

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<Of>;
@group(0) @binding(1) var<storage, {{ input_access }}> cosines: array<Of>;
@group(0) @binding(2) var<storage, {{ input_access }}> sines: array<Of>;
@group(0) @binding(3) var<storage, read_write> y: array<Of>;
@group(0) @binding(4) var<storage, read> numbers: Numbers;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let number = (workgroup.y * workgroups.x + workgroup.x) * 64u + i;
    if number >= numbers.pairs {
        return;
    }
    var mine = 0u;
    for (var p = 1u; p < {{ parts }}u; p++) {
        mine += u32(number >= numbers.parts[p].first);
    }
    let part = numbers.parts[mine];
    let half = numbers.half;
    let pair = number - part.first;
    let k = pair % half;
    let head = pair / half % part.heads;
    let position = pair / (half * part.heads) % numbers.seq;
    let row = pair / (half * part.heads * numbers.seq);
    let start = part.begins.x + row * part.strides.x + head * part.strides.y + position * part.strides.z + k;
    let angle = (row * numbers.each_row * numbers.seq + position) * half + k;
    let cosine = select(Of(1.0), cosines[angle], part.rotated == 1u);
    let sine = select(Of(0.0), sines[angle] * numbers.sign, part.rotated == 1u);
    let one = x[start];
    let other = x[start + half];
    let to = part.begins.y + pair / half * 2u * half + k;
    y[to] = one * cosine - other * sine;
    y[to + half] = other * cosine + one * sine;
}
