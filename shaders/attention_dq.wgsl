// The gradient of attention with respect to its queries. With p = exp(score − log-sum-exp) and delta = Σ dy y of a query:
// dq = scale · Σ p (dy v − delta) k over the keys that it sees. Delta is left for `attention_dkv.wgsl`.
//
// Bindings
//   0  q        batch × heads × seq × width
//   1  k        batch × (heads / groups) × keys × width
//   2  v        likewise
//   3  y        batch × heads × seq × width
//   4  dy       likewise
//   5  saved    batch × heads × seq: what `attention.wgsl` has left; delta is written to its third place
//   6  dq       batch × seq × heads × width, written whole, never read
//   7  numbers  (heads, groups, seq, keys), (0, bits of scale, 0, 0), five times (vectors between rows of the batch,
//               heads, positions, 0) of q, k, v, y, dy
// f32 in any order of the first three dimensions; a width of $c vectors of four, each a line below.
//
// Launch
//   workgroups (⌈seq / 64⌉, heads, batch): an invocation a query

const WIDTH = {{ vectors }}u;

@group(0) @binding(0) var<storage, {{ input_access }}> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, {{ input_access }}> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, {{ input_access }}> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> saved: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> numbers: array<vec4<u32>, 7>;

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
    let place = vec3<u32>(row, head, query);
    let q_at = dot(numbers[2].xyz, place);
    let k_at = dot(numbers[3].xy, vec2<u32>(row, head / size.y));
    let v_at = dot(numbers[4].xy, vec2<u32>(row, head / size.y));
    let y_at = dot(numbers[5].xyz, place);
    let dy_at = dot(numbers[6].xyz, place);
    let keeps = (row * size.x + head) * size.z;
    let of_query = saved[keeps + query];
    let past = size.w - size.z;
    let own = past + query;
    let last = min(past + workgroup.x * 64u + 63u, size.w - 1u);

    let q$c = scale * q[q_at + $c];
    let dy$c = dy[dy_at + $c];
    var dq$c = vec4<f32>();
    var delta = 0.0;
    delta += dot(dy$c, y[y_at + $c]);
    for (var key = u32(saved[keeps + workgroup.x * 64u].y); key <= last; key++) {
        if key < u32(of_query.y) || key > own {
            continue;
        }
        let of_k = k_at + key * numbers[3].z;
        let of_v = v_at + key * numbers[4].z;
        var score = 0.0;
        score += dot(q$c, k[of_k + $c]);
        var pull = -delta;
        pull += dot(dy$c, v[of_v + $c]);
        pull *= exp(score - of_query.x) * scale;
        dq$c += pull * k[of_k + $c];
    }
    let to = ((row * size.z + query) * size.x + head) * WIDTH;
    dq[to + $c] = dq$c;
    saved[keeps + query].z = delta;
}
