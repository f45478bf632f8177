// The gradients of attention whose queries and keys were rotated by the angles of their positions, with respect to what
// these were before: what `attention_dq.wgsl` and `attention_dkv.wgsl` make, in one dispatch, and rotated back where it
// is made.
//
// Bindings
//   0  qkv      q: batch × heads × seq × width, k and v: batch × (heads / groups) × seq × width, each at its place
//   1  y        batch × heads × seq × width
//   2  dy       likewise
//   3  saved    batch × heads × seq: (log-sum-exp of the scores, first, 0, 0), as `attention.wgsl` has left it
//   4  back     batch × seq × heads × width of q, likewise of k and v, each at its place; written whole, never read
//   5  angles   cosines and sines, each period × width / 2 at its place, the period seq or batch × seq
//   6  numbers  (heads, groups, seq, period), (bits of scale, 0, 0, 0), (q, k, v, cosines) and (dq, dk, dv, sines), where
//               they begin in vectors, five times (vectors between rows of the batch, heads, positions, 0) of q, k, v, y, dy
// f32 in any order of the first three dimensions; a width of $c vectors of four, an even number, each a line below.
//
// Launch
//   workgroups (2 ⌈seq / 64⌉, heads, batch): an invocation a query, and then one a key; for keys the heads beyond heads / groups
//   do nothing

const WIDTH = {{ vectors }}u;
const HALF = WIDTH / 2u;

@group(0) @binding(0) var<storage, {{ input_access }}> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, {{ input_access }}> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, {{ input_access }}> saved: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> back: array<vec4<f32>>;
@group(0) @binding(5) var<storage, {{ input_access }}> angles: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> numbers: array<vec4<u32>, 9>;

// Of 64 queries: log-sum-exp, first, and Σ dy y.
var<workgroup> of_queries: array<vec4<f32>, 64>;
var<workgroup> beyond: u32;

// A gradient in its place, rotated back by the angles of its position.
fn store_turned(to: u32, row: u32, position: u32, gradient: array<vec4<f32>, WIDTH>) {
    let size = numbers[0];
    let at = (row * size.z + position) % size.w * HALF;
    var all = gradient;
    for (var c = 0u; c < HALF; c++) {
        let cosine = angles[numbers[2].w + at + c];
        let sine = angles[numbers[3].w + at + c];
        let one = all[c];
        let other = all[HALF + c];
        back[to + c] = one * cosine + other * sine;
        back[to + HALF + c] = other * cosine - one * sine;
    }
}

fn of_a_query(group: u32, head: u32, row: u32, i: u32) {
    let size = numbers[0];
    let query = group * 64u + i;
    if query >= size.z {
        return;
    }
    let scale = bitcast<f32>(numbers[1].x);
    let place = vec3<u32>(row, head, query);
    let q_at = numbers[2].x + dot(numbers[4].xyz, place);
    let k_at = numbers[2].y + dot(numbers[5].xy, vec2<u32>(row, head / size.y));
    let v_at = numbers[2].z + dot(numbers[6].xy, vec2<u32>(row, head / size.y));
    let y_at = dot(numbers[7].xyz, place);
    let dy_at = dot(numbers[8].xyz, place);
    let keeps = (row * size.x + head) * size.z;
    let of_query = saved[keeps + query];
    let last = min(group * 64u + 63u, size.z - 1u);

    let q$c = scale * qkv[q_at + $c];
    let dy$c = dy[dy_at + $c];
    var dq$c = vec4<f32>();
    var delta = 0.0;
    delta += dot(dy$c, y[y_at + $c]);
    for (var key = u32(saved[keeps + group * 64u].y); key <= last; key++) {
        if key < u32(of_query.y) || key > query {
            continue;
        }
        let of_k = k_at + key * numbers[5].z;
        let of_v = v_at + key * numbers[6].z;
        var score = 0.0;
        score += dot(q$c, qkv[of_k + $c]);
        var pull = -delta;
        pull += dot(dy$c, qkv[of_v + $c]);
        pull *= exp(score - of_query.x) * scale;
        dq$c += pull * qkv[of_k + $c];
    }
    var dq = array<vec4<f32>, WIDTH>();
    dq[$c] = dq$c;
    store_turned(numbers[3].x + ((row * size.z + query) * size.x + head) * WIDTH, row, query, dq);
}

fn of_a_key(group: u32, of_head: u32, row: u32, i: u32) {
    let size = numbers[0];
    let kv_heads = size.x / size.y;
    if of_head >= kv_heads {
        return;
    }
    let key = group * 64u + i;
    let here = min(key, size.z - 1u);
    let scale = bitcast<f32>(numbers[1].x);
    let k_at = numbers[2].y + dot(numbers[5].xyz, vec3<u32>(row, of_head, here));
    let v_at = numbers[2].z + dot(numbers[6].xyz, vec3<u32>(row, of_head, here));
    let last = min(group * 64u + 63u, size.z - 1u);

    let k$c = scale * qkv[k_at + $c];
    let v$c = qkv[v_at + $c];
    var dk$c = vec4<f32>();
    var dv$c = vec4<f32>();
    for (var head = of_head * size.y; head < (of_head + 1u) * size.y; head++) {
        let q_at = numbers[2].x + dot(numbers[4].xy, vec2<u32>(row, head));
        let y_at = dot(numbers[7].xy, vec2<u32>(row, head));
        let dy_at = dot(numbers[8].xy, vec2<u32>(row, head));
        let keeps = (row * size.x + head) * size.z;
        // 64 queries at a time, of which every invocation looks at one for all.
        for (var some = group * 64u; some < size.z; some += 64u) {
            let mine = min(some + i, size.z - 1u);
            var of_mine = saved[keeps + mine];
            of_mine.z = 0.0;
            of_mine.z += dot(dy[dy_at + mine * numbers[8].z + $c], y[y_at + mine * numbers[7].z + $c]);
            of_queries[i] = of_mine;
            // First keys do not fall: behind a text that begins after these keys nobody sees them.
            if i == 0u {
                beyond = u32(u32(of_mine.y) > last);
            }
            if workgroupUniformLoad(&beyond) == 1u {
                break;
            }
            for (var j = 0u; j < min(64u, size.z - some); j++) {
                let of_query = of_queries[j];
                let query = some + j;
                if key < u32(of_query.y) || key > query {
                    continue;
                }
                let of_q = q_at + query * numbers[4].z;
                let of_dy = dy_at + query * numbers[8].z;
                var score = 0.0;
                score += dot(k$c, qkv[of_q + $c]);
                let share = exp(score - of_query.x);
                var pull = -of_query.z;
                pull += dot(v$c, dy[of_dy + $c]);
                pull *= share * scale;
                dv$c += share * dy[of_dy + $c];
                dk$c += pull * qkv[of_q + $c];
            }
            workgroupBarrier();
        }
        // The loop may have been left before its barrier.
        workgroupBarrier();
    }
    if key >= size.z {
        return;
    }
    let to = ((row * size.z + key) * kv_heads + of_head) * WIDTH;
    var dk = array<vec4<f32>, WIDTH>();
    dk[$c] = dk$c;
    store_turned(numbers[3].y + to, row, key, dk);
    back[numbers[3].z + to + $c] = dv$c;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let groups = (numbers[0].z + 63u) / 64u;
    if workgroup.x < groups {
        of_a_query(workgroup.x, workgroup.y, workgroup.z, i);
    } else {
        of_a_key(workgroup.x - groups, workgroup.y, workgroup.z, i);
    }
}
