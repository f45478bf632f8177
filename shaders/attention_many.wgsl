// `attention.wgsl` for adapters that are no GPU. There a read costs more than what is computed with it, so an invocation has
// several queries, and both sides of a branch are computed, so scores that a query does not see are made and then masked.
//
// Bindings
//   those of `attention.wgsl`
// A width of $c vectors of four and $e queries of an invocation, each a line below.
//
// Launch
//   workgroups (⌈seq / (64 QUERIES)⌉, heads, batch)

const WIDTH = {{ vectors }}u;
const QUERIES = {{ each }}u;
// Below every score, and in place of a score that is not seen.
const LEAST = -1e38;
const UNSEEN = -3e38;

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
    let query = QUERIES * (workgroup.x * 64u + i);
    if query >= size.z {
        return;
    }
    let head = workgroup.y;
    let row = workgroup.z;
    let scale = bitcast<f32>(numbers[1].y);
    let q_at = dot(numbers[2].xy, vec2<u32>(row, head));
    let k_at = dot(numbers[3].xy, vec2<u32>(row, head / size.y));
    let v_at = dot(numbers[4].xy, vec2<u32>(row, head / size.y));
    let firsts = row * numbers[1].x;
    let past = size.w - size.z;
    let end = past + min(query + QUERIES, size.z);

    let query$e = min(query + $e, size.z - 1u);
    let since$e = u32(first[firsts + query$e]);
    let own$e = past + query$e;
    let q$c_$e = scale * q[q_at + query$e * numbers[2].z + $c];
    var y$c_$e = vec4<f32>();
    var most$e = LEAST;
    var sum$e = 0.0;
    let k_step = numbers[3].z;
    let v_step = numbers[4].z;
    for (var key = since0; key < end; key++) {
        let k$c = k[k_at + key * k_step + $c];
        let v$c = v[v_at + key * v_step + $c];
        var score$e = 0.0;
        score$e += dot(q$c_$e, k$c);
        score$e = select(UNSEEN, score$e, (since$e <= key) & (key <= own$e));
        // The lower of the two exponentials; the other is 1.
        let lower$e = exp(-abs(score$e - most$e));
        let share$e = select(lower$e, 1.0, score$e > most$e);
        let shrink$e = select(1.0, lower$e, score$e > most$e);
        most$e = max(most$e, score$e);
        sum$e = shrink$e * sum$e + share$e;
        y$c_$e = shrink$e * y$c_$e + share$e * v$c;
    }
    let to = ((row * size.z + query) * size.x + head) * WIDTH;
    let keep = (row * size.x + head) * size.z + query;
    if query + $e < size.z { y[to + $e * size.x * WIDTH + $c] = y$c_$e / sum$e; }
    if query + $e < size.z { saved[keep + $e] = vec4<f32>(most$e + log(sum$e), f32(since$e), 0.0, 0.0); }
}
