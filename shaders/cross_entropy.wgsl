// Cross-entropy of rows of logits, and its gradient over them: with p = softmax(row), loss = −log p(target) and
// row ← scale · (p − onehot(target)).
//
// Bindings
//   0  logits   rows × vocabulary, read and written
//   1  targets  rows
//   2  losses   rows, written whole, never read
//   3  size     (rows, vocabulary, bits of scale, 0)
// Contiguous; a vocabulary of any size.
//
// Launch
//   ⌈rows LANES / 64⌉ workgroups, in a grid of any width: LANES invocations share a row, as in `rms_norm.wgsl`, and the same
//   is appended

const LANES = {{ lanes }}u;

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, {{ input_access }}> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;
@group(0) @binding(3) var<storage, read> size: vec4<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let row = (workgroup.y * workgroups.x + workgroup.x) * (64u / LANES) + i / LANES;
    let lane = i % LANES;
    // Beyond the last row there is nothing to do.
    let width = select(0u, size.y, row < size.x);
    let start = row * size.y;
    let target_place = start + u32(targets[min(row, size.x - 1u)]);
    // The largest so far, and the sum of exponentials of what lies below it.
    var most = -3.4e38;
    var sum = 0.0;
    for (var c = lane; c < width; c += LANES) {
        let v = logits[start + c];
        // The lower of the two exponentials; the other is 1.
        let lower = exp(-abs(v - most));
        sum = select(sum + lower, sum * lower + 1.0, v > most);
        most = max(most, v);
    }
    let own = most;
    most = max_of_lanes(i, own);
    sum = sum_of_lanes(i, vec2<f32>(sum * exp(own - most), 0.0)).x;
    if lane == 0u && width > 0u {
        losses[row] = most + log(sum) - logits[target_place];
    }
    if LANES > 1u {
        // The target's logit is read above and written below, by another invocation.
        storageBarrier();
    }
    let scale = bitcast<f32>(size.z);
    for (var c = lane; c < width; c += LANES) {
        let p = exp(logits[start + c] - most) / sum;
        logits[start + c] = scale * select(p, p - 1.0, start + c == target_place);
    }
}
