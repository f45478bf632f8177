
// What the LANES invocations that share a row have, added up, for each of them; and the largest of it. All of a workgroup must
// come here, once.

var<workgroup> parts: array<vec2<f32>, 64>;
var<workgroup> candidates: array<f32, 64>;

fn sum_of_lanes(i: u32, own: vec2<f32>) -> vec2<f32> {
    if LANES == 1u {
        return own;
    }
    parts[i] = own;
    workgroupBarrier();
    // Everyone adds up all of a row: one barrier, where a tree has six.
    var sum = vec2<f32>();
    let first = i - i % LANES;
    for (var k = first; k < first + LANES; k++) {
        sum += parts[k];
    }
    return sum;
}

fn max_of_lanes(i: u32, own: f32) -> f32 {
    if LANES == 1u {
        return own;
    }
    candidates[i] = own;
    workgroupBarrier();
    var most = own;
    let first = i - i % LANES;
    for (var k = first; k < first + LANES; k++) {
        most = max(most, candidates[k]);
    }
    return most;
}
