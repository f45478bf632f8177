// Causal attention with grouped queries: y = softmax(q kᵀ · scale) v, each query over the keys first ..= own. Scores are
// made one at a time and go into a running softmax (Milakov and Gimelshein 2018, algorithm 3); no row of them is kept.
//
// Bindings
//   0  q        batch × heads × seq × width
//   1  k        batch × (heads / groups) × keys × width
//   2  v        likewise
//   3  first    (batch or 1) × seq: whole numbers that do not fall along a row
//   4  y        batch × seq × heads × width, written whole, never read
//   5  saved    batch × heads × seq: (log-sum-exp of the scores, first, room for the backward pass, 0), written whole
//   6  numbers  (heads, groups, seq, keys), (numbers between rows of `first`, bits of scale, 0, 0),
//               three times (vectors between rows of the batch, heads, positions, 0) of q, k, v
// f32 in any order of the first three dimensions; a width of $c vectors of four, each a line below.
//
// Launch
//   workgroups (⌈seq / 64⌉, heads, batch): an invocation a query. All of them read the same key at the same time, which
//   adapters fetch once; hence no workgroup memory, and no barrier, which costs on software adapters.

const WIDTH = {{ vectors }}u;

@group(0) @binding(0) var<storage, {{ input_access }}> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, {{ input_access }}> first: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> saved: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> numbers: array<vec4<u32>, 5>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let size = numbers[0];
    let query = workgroup.x * 64u + i;
    if query >= size.z {
        return;
    }
    let head = workgroup.y;
    let row = workgroup.z;
    let scale = bitcast<f32>(numbers[1].y);
    let q_at = dot(numbers[2].xyz, vec3<u32>(row, head, query));
    let k_at = dot(numbers[3].xy, vec2<u32>(row, head / size.y));
    let v_at = dot(numbers[4].xy, vec2<u32>(row, head / size.y));
    let firsts = row * numbers[1].x;
    let since = first[firsts + query];
    let past = size.w - size.z;
    let own = past + query;
    let last = min(past + workgroup.x * 64u + 63u, size.w - 1u);

    let q$c = scale * q[q_at + $c];
    var y$c = vec4<f32>();
    var most = -3.4e38;
    var sum = 0.0;
    for (var key = u32(first[firsts + workgroup.x * 64u]); key <= last; key++) {
        if key < u32(since) || key > own {
            continue;
        }
        let of_k = k_at + key * numbers[3].z;
        let of_v = v_at + key * numbers[4].z;
        var score = 0.0;
        score += dot(q$c, k[of_k + $c]);
        if score > most {
            let shrink = exp(most - score);
            sum *= shrink;
            y$c *= shrink;
            most = score;
        }
        let share = exp(score - most);
        sum += share;
        y$c += share * v[of_v + $c];
    }
    let to = ((row * size.z + query) * size.x + head) * WIDTH;
    y[to + $c] = y$c / sum;
    saved[(row * size.x + head) * size.z + query] = vec4<f32>(most + log(sum), since, 0.0, 0.0);
}
