// `attention_dkv.wgsl` for adapters that are no GPU, in the manner of `attention_many.wgsl`.
//
// Bindings
//   those of `attention_dkv.wgsl`
// A width of $c vectors of four and $e keys of an invocation, each a line below.
//
// Launch
//   workgroups (⌈keys / (64 KEYS)⌉, heads / groups, batch)

const WIDTH = {{ vectors }}u;
const KEYS = {{ each }}u;

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
    let key = KEYS * (workgroup.x * 64u + i);
    if key >= size.w {
        return;
    }
    let of_head = workgroup.y;
    let row = workgroup.z;
    let scale = bitcast<f32>(numbers[1].y);
    let k_at = dot(numbers[3].xy, vec2<u32>(row, of_head));
    let v_at = dot(numbers[4].xy, vec2<u32>(row, of_head));
    let past = size.w - size.z;
    let end = min(key + KEYS, size.w);
    let begin = max(key, past) - past;

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
            let of_query = saved[keeps + query];
            let since = u32(of_query.y);
            let own = past + query;
            if since >= end {
                break;
            }
            let q$c = q[q_at + query * q_step + $c];
            let dy$c = dy[dy_at + query * dy_step + $c];
            var score$e = 0.0;
            score$e += dot(k$c_$e, q$c);
            let share$e = select(0.0, exp(score$e - of_query.x), (since <= key$e) & (key$e <= own));
            var pull$e = -of_query.z;
            pull$e += dot(v$c_$e, dy$c);
            pull$e *= share$e * scale;
            dv$c_$e += share$e * dy$c;
            dk$c_$e += pull$e * q$c;
        }
    }
    let to = ((row * size.w + key) * (size.x / size.y) + of_head) * WIDTH;
    let apart = size.x / size.y * WIDTH;
    if key + $e < size.w { dk[to + $e * apart + $c] = dk$c_$e; }
    if key + $e < size.w { dv[to + $e * apart + $c] = dv$c_$e; }
}
