// Norms of heads and rotary positions: each head of queries and keys is normalised, y = x r (w + offset) with
// r = 1 / sqrt(mean(x²) + eps), and its pairs are rotated by the angle of its position; values come along as they are. Or
// the gradient of that: what comes back is rotated back and goes through the norm, as in `rms_norm_dx.wgsl`.
//
// Bindings
//   0  x        queries and keys as they were, each batch × seq × heads × 2 half
//   1  of_q     2 half, the weight of queries' norm
//   2  of_k     likewise
//   3  cosines  (batch or 1) × seq × half
//   4  sines    likewise
//   5  y        queries, keys, values: written whole, never read
//   then, backward, dy: the gradients of the three; forward, values are in x
//   then numbers
// Contiguous f32, four at a time, in which half and places are counted.
//
// Launch
//   ⌈rows LANES / 64⌉ workgroups, in a grid of any width: LANES invocations share a head of a position, as in
//   `rms_norm.wgsl`, and the same is appended

const LANES = {{ lanes }}u;

struct Part {
    // The number of its first row.
    first: u32,
    heads: u32,
    // Where it begins in x, in dy and in y.
    @align(16) in_x: u32,
    in_dy: u32,
    in_y: u32,
}

struct Numbers {
    rows: u32,
    seq: u32,
    half: u32,
    // 1 if each row of the batch has angles of its own.
    each_row: u32,
    eps: f32,
    @size(12) offset: f32,
    parts: array<Part, 3>,
}

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> of_q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> of_k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, {{ input_access }}> cosines: array<vec4<f32>>;
@group(0) @binding(4) var<storage, {{ input_access }}> sines: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, {{ input_access }}> dy: array<vec4<f32>>; // $backward
@group(0) @binding({{ numbers_binding }}) var<storage, read> numbers: Numbers;

fn gain(mine: u32, c: u32) -> vec4<f32> {
    return select(of_k[c], of_q[c], mine == 0u) + numbers.offset;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let row = (workgroup.y * workgroups.x + workgroup.x) * (64u / LANES) + i / LANES;
    let lane = i % LANES;
    let half = numbers.half;
    // Beyond the last row there is nothing to do.
    let pairs = select(0u, half, row < numbers.rows);
    let mine = u32(row >= numbers.parts[1].first) + u32(row >= numbers.parts[2].first);
    let part = numbers.parts[mine];
    let normed = mine < 2u;
    let head = row - part.first;
    let position = head / part.heads;
    let angles = (position / numbers.seq * numbers.each_row * numbers.seq + position % numbers.seq) * half;
    let from_x = part.in_x + head * 2u * half;
    let from_dy = part.in_dy + head * 2u * half; // $backward
    let to = part.in_y + head * 2u * half;
    // Of x², and of dy w x.
    var sum = vec2<f32>();
    if normed {
        for (var c = lane; c < pairs; c += LANES) {
            let one = x[from_x + c];
            let other = x[from_x + half + c];
            sum.x += dot(one, one) + dot(other, other);
            let cosine = cosines[angles + c]; // $backward
            let sine = sines[angles + c]; // $backward
            let d_one = dy[from_dy + c]; // $backward
            let d_other = dy[from_dy + half + c]; // $backward
            sum.y += dot(one, (d_one * cosine + d_other * sine) * gain(mine, c)); // $backward
            sum.y += dot(other, (d_other * cosine - d_one * sine) * gain(mine, half + c)); // $backward
        }
    }
    let mean = sum_of_lanes(i, sum) / f32(8u * half);
    let r = inverseSqrt(mean.x + numbers.eps);
    let pull = r * r * mean.y; // $backward
    for (var c = lane; c < pairs; c += LANES) {
        if !normed {
            y[to + c] = x[from_x + c]; // $forward
            y[to + half + c] = x[from_x + half + c]; // $forward
            y[to + c] = dy[from_dy + c]; // $backward
            y[to + half + c] = dy[from_dy + half + c]; // $backward
            continue;
        }
        let cosine = cosines[angles + c];
        let sine = sines[angles + c];
        let one = x[from_x + c] * r * gain(mine, c); // $forward
        let other = x[from_x + half + c] * r * gain(mine, half + c); // $forward
        y[to + c] = one * cosine - other * sine; // $forward
        y[to + half + c] = other * cosine + one * sine; // $forward
        let d_one = dy[from_dy + c]; // $backward
        let d_other = dy[from_dy + half + c]; // $backward
        let g_one = (d_one * cosine + d_other * sine) * gain(mine, c); // $backward
        let g_other = (d_other * cosine - d_one * sine) * gain(mine, half + c); // $backward
        y[to + c] = r * (g_one - x[from_x + c] * pull); // $backward
        y[to + half + c] = r * (g_other - x[from_x + half + c] * pull); // $backward
    }
}
