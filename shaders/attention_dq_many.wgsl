// `attention_dq.wgsl` for adapters that are no GPU, in the manner of `attention_many.wgsl`.
//
// Bindings
//   those of `attention_dq.wgsl`
// A width of $c vectors of four and $e queries of an invocation, each a line below.
//
// Launch
//   workgroups (⌈seq / (64 QUERIES)⌉, heads, batch)

const WIDTH = {{ vectors }}u;
const QUERIES = {{ each }}u;

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
    let y_at = dot(numbers[5].xy, vec2<u32>(row, head));
    let dy_at = dot(numbers[6].xy, vec2<u32>(row, head));
    let keeps = (row * size.x + head) * size.z;
    let past = size.w - size.z;
    let end = past + min(query + QUERIES, size.z);

    let query$e = min(query + $e, size.z - 1u);
    let of_query$e = saved[keeps + query$e];
    let since$e = u32(of_query$e.y);
    let own$e = past + query$e;
    let q$c_$e = scale * q[q_at + query$e * numbers[2].z + $c];
    let dy$c_$e = dy[dy_at + query$e * numbers[6].z + $c];
    var dq$c_$e = vec4<f32>();
    var delta$e = 0.0;
    delta$e += dot(dy$c_$e, y[y_at + query$e * numbers[5].z + $c]);
    let k_step = numbers[3].z;
    let v_step = numbers[4].z;
    for (var key = since0; key < end; key++) {
        let k$c = k[k_at + key * k_step + $c];
        let v$c = v[v_at + key * v_step + $c];
        var score$e = 0.0;
        score$e += dot(q$c_$e, k$c);
        let share$e = select(0.0, exp(score$e - of_query$e.x), (since$e <= key) & (key <= own$e));
        var pull$e = -delta$e;
        pull$e += dot(dy$c_$e, v$c);
        pull$e *= share$e * scale;
        dq$c_$e += pull$e * k$c;
    }
    let to = ((row * size.z + query) * size.x + head) * WIDTH;
    if query + $e < size.z { dq[to + $e * size.x * WIDTH + $c] = dq$c_$e; }
    if query + $e < size.z { saved[keeps + query + $e].z = delta$e; }
}
