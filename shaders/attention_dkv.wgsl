// The gradients of attention with respect to its keys and values. With p = exp(score − log-sum-exp), over the queries of
// all heads of the group that see the key: dv = Σ p dy, dk = scale · Σ p (dy v − delta) q, each term of it
// times 1 − tanh² where scores are capped.
//
// Bindings
//   0  q        batch × heads × seq × width
//   1  k        batch × (heads / groups) × keys × width
//   2  v        likewise
//   3  dy       batch × heads × seq × width
//   4  kept     batch × heads × seq: (log-sum-exp, first, delta, 0), as `attention_dq.wgsl` has left it
//   5  dk       batch × keys × (heads / groups) × width, written whole, never read
//   6  dv       likewise
//   7  numbers  (heads, groups, seq, keys), (0, bits of scale and of the cap, 0), four times (vectors between rows of the batch,
//               heads, positions, 0) of q, k, v, dy
// f32 in any order of the first three dimensions; a width of $c vectors of four and $e keys of an invocation, each a line below.
//
// Launch
//   workgroups (⌈keys / (64 KEYS)⌉, heads / groups, batch): in the manner of `attention.wgsl`, with keys for queries. All of a workgroup
//   that are TOGETHER read the same query at the same time.

const WIDTH = {{ vectors }}u;
const KEYS = {{ each }}u;
const TOGETHER = {{ together }};

@group(0) @binding(0) var<storage, {{ input_access }}> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, {{ input_access }}> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, {{ input_access }}> kept: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dv: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> numbers: array<vec4<u32>, 6>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let size = numbers[0];
    let key = KEYS * (workgroup.x * 64u + i);
    if key >= size.w {
        return;
    }
    let of_head = workgroup.y;
    let row = workgroup.z;
    let scale = bitcast<f32>(numbers[1].y);
    let cap = bitcast<f32>(numbers[1].z); // $with_cap
    let k_at = dot(numbers[3].xy, vec2<u32>(row, of_head));
    let v_at = dot(numbers[4].xy, vec2<u32>(row, of_head));
    let past = size.w - size.z;
    // The first query that sees one of these keys, and the end of the keys.
    var begin = max(key, past) - past;
    var end = min(key + KEYS, size.w);
    if TOGETHER {
        begin = max(64u * KEYS * workgroup.x, past) - past;
        end = min(64u * KEYS * (workgroup.x + 1u), size.w);
    }

    let key$e = min(key + $e, size.w - 1u);
    let k$c_$e = scale * k[k_at + key$e * numbers[3].z + $c];
    let v$c_$e = v[v_at + key$e * numbers[4].z + $c];
    var dk$c_$e = vec4<f32>();
    var dv$c_$e = vec4<f32>();
    let q_step = numbers[2].z;
    let dy_step = numbers[5].z;
    for (var head = of_head * size.y; head < (of_head + 1u) * size.y; head++) {
        let q_at = dot(numbers[2].xy, vec2<u32>(row, head));
        let dy_at = dot(numbers[5].xy, vec2<u32>(row, head));
        let keeps = (row * size.x + head) * size.z;
        for (var query = begin; query < size.z; query++) {
            let of_query = kept[keeps + query];
            let since = u32(of_query.y);
            let own = past + query;
            if since >= end {
                break;
            }
            let q$c = q[q_at + query * q_step + $c];
            let dy$c = dy[dy_at + query * dy_step + $c];
            var score$e = 0.0;
            score$e += dot(k$c_$e, q$c);
            let bent$e = tanh(clamp(score$e / cap, -10.0, 10.0)); // $with_cap
            score$e = cap * bent$e; // $with_cap
            let share$e = select(0.0, exp(score$e - of_query.x), (since <= key$e) & (key$e <= own));
            var pull$e = -of_query.z;
            pull$e += dot(v$c_$e, dy$c);
            pull$e *= share$e * scale;
            pull$e *= 1.0 - bent$e * bent$e; // $with_cap
            dv$c_$e += share$e * dy$c;
            dk$c_$e += pull$e * q$c;
        }
    }
    let to = ((row * size.w + key) * (size.x / size.y) + of_head) * WIDTH;
    let apart = size.x / size.y * WIDTH;
    if key + $e < size.w { dk[to + $e * apart + $c] = dk$c_$e; }
    if key + $e < size.w { dv[to + $e * apart + $c] = dv$c_$e; }
}
