// The gradients of attention with respect to its keys and values. With p = exp(score − log-sum-exp), over the queries of
// all heads of the group that see the key: dv = Σ p dy, dk = scale · Σ p (dy v − delta) q.
//
// Bindings
//   0  q        batch × heads × seq × width
//   1  k        batch × (heads / groups) × keys × width
//   2  v        likewise
//   3  dy       batch × heads × seq × width
//   4  saved    batch × heads × seq: (log-sum-exp, first, delta, 0), as `attention_dq.wgsl` has left it
//   5  dk       batch × keys × (heads / groups) × width, written whole, never read
//   6  dv       likewise
//   7  numbers  (heads, groups, seq, keys), (0, bits of scale, 0, 0), four times (vectors between rows of the batch,
//               heads, positions, 0) of q, k, v, dy
// f32 in any order of the first three dimensions; a width of $c vectors of four, each a line below.
//
// Launch
//   workgroups (⌈keys / 64⌉, heads / groups, batch): an invocation a key. All of them read the same query at the same time.

const WIDTH = {{ vectors }}u;

@group(0) @binding(0) var<storage, {{ input_access }}> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, {{ input_access }}> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, {{ input_access }}> saved: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dv: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> numbers: array<vec4<u32>, 6>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let size = numbers[0];
    let key = workgroup.x * 64u + i;
    if key >= size.w {
        return;
    }
    let of_head = workgroup.y;
    let row = workgroup.z;
    let scale = bitcast<f32>(numbers[1].y);
    let k_at = dot(numbers[3].xyz, vec3<u32>(row, of_head, key));
    let v_at = dot(numbers[4].xyz, vec3<u32>(row, of_head, key));
    let past = size.w - size.z;
    // The first query that sees a key of this workgroup, and the last of these keys.
    let begin = max(workgroup.x * 64u, past) - past;
    let last = min(workgroup.x * 64u + 63u, size.w - 1u);

    let k$c = scale * k[k_at + $c];
    let v$c = v[v_at + $c];
    var dk$c = vec4<f32>();
    var dv$c = vec4<f32>();
    for (var head = of_head * size.y; head < (of_head + 1u) * size.y; head++) {
        let q_at = dot(numbers[2].xy, vec2<u32>(row, head));
        let dy_at = dot(numbers[5].xy, vec2<u32>(row, head));
        let keeps = (row * size.x + head) * size.z;
        for (var query = begin; query < size.z; query++) {
            let of_query = saved[keeps + query];
            let since = u32(of_query.y);
            if since > last {
                break;
            }
            if key < since || key > past + query {
                continue;
            }
            let of_q = q_at + query * numbers[2].z;
            let of_dy = dy_at + query * numbers[5].z;
            var score = 0.0;
            score += dot(k$c, q[of_q + $c]);
            let share = exp(score - of_query.x);
            var pull = -of_query.z;
            pull += dot(v$c, dy[of_dy + $c]);
            pull *= share * scale;
            dv$c += share * dy[of_dy + $c];
            dk$c += pull * q[of_q + $c];
        }
    }
    let to = ((row * size.w + key) * (size.x / size.y) + of_head) * WIDTH;
    dk[to + $c] = dk$c;
    dv[to + $c] = dv$c;
}
