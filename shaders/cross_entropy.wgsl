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
//   a workgroup for each row, in a grid of any width

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, {{ input_access }}> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;
@group(0) @binding(3) var<storage, read> size: vec4<u32>;

var<workgroup> parts: array<vec2<f32>, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let row = workgroup.y * workgroups.x + workgroup.x;
    if row >= size.x {
        return;
    }
    let start = row * size.y;
    let target_place = start + u32(targets[row]);
    // The largest so far, and the sum of exponentials of what lies below it.
    var most = -3.4e38;
    var sum = 0.0;
    for (var c = i; c < size.y; c += 64u) {
        let v = logits[start + c];
        let higher = max(most, v);
        sum = sum * exp(most - higher) + exp(v - higher);
        most = higher;
    }
    parts[i] = vec2<f32>(most, sum);
    workgroupBarrier();
    for (var k = 0u; k < 64u; k++) {
        most = max(most, parts[k].x);
    }
    sum = 0.0;
    for (var k = 0u; k < 64u; k++) {
        sum += parts[k].y * exp(parts[k].x - most);
    }
    if i == 0u {
        losses[row] = most + log(sum) - logits[target_place];
    }
    // The target's logit is read above and written below, by another invocation.
    storageBarrier();
    let scale = bitcast<f32>(size.z);
    for (var c = i; c < size.y; c += 64u) {
        let p = exp(logits[start + c] - most) / sum;
        logits[start + c] = scale * select(p, p - 1.0, start + c == target_place);
    }
}
