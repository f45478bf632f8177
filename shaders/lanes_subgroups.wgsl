
// The same where a whole workgroup shares a row and the adapter has subgroups, each of so many neighbours: an invocation reads a
// number of each subgroup, not of each neighbour. Nobody promises that they are neighbours; the self-test sees it.

var<workgroup> parts: array<vec2<f32>, 64>;
var<workgroup> candidates: array<f32, 64>;

fn sum_of_lanes(i: u32, own: vec2<f32>) -> vec2<f32> {
    let neighbours = subgroupAdd(1u);
    parts[i] = subgroupAdd(own);
    workgroupBarrier();
    var sum = vec2<f32>();
    for (var k = 0u; k < LANES; k += neighbours) {
        sum += parts[k];
    }
    return sum;
}

fn most_of_lanes(i: u32, own: f32) -> f32 {
    let neighbours = subgroupAdd(1u);
    candidates[i] = subgroupMax(own);
    workgroupBarrier();
    var most = own;
    for (var k = 0u; k < LANES; k += neighbours) {
        most = max(most, candidates[k]);
    }
    return most;
}
