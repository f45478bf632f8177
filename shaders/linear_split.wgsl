// For outputs with a narrow side, as the factors of an update make them: a workgroup makes 8 × 8 of out, and its invocations
// share the depth. Tiles of 64 × 64 would be mostly empty, and so few that most of a GPU would wait for them.
//
// Launch
//   for each out ⌈columns / 8⌉ ⌈rows / 8⌉ workgroups, in rows of any length

// Of each vector of four of the output, by row, and of each invocation: its share of the sum. 16 KiB, which every adapter has.
var<workgroup> shares: array<vec4<f32>, 1024>;

fn leave(i: u32, at: u32, sums: mat4x4<f32>) {
    shares[64u * at + i] = sums[0];
    shares[64u * (at + 2u) + i] = sums[1];
    shares[64u * (at + 4u) + i] = sums[2];
    shares[64u * (at + 6u) + i] = sums[3];
}

fn block_at(at: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        shares[64u * at],
        shares[64u * (at + 2u)],
        shares[64u * (at + 4u)],
        shares[64u * (at + 6u)],
    );
}

// What the products from one to before another give, and their updates and biases.
fn store_block(start: u32, end: u32, row: u32, column: u32, sums: mat4x4<f32>) {
    let own = products[start];
    var whole = own.scale * sums;
    for (var k = start; k < end; k++) {
        whole += update(products[k], row, column);
        whole += bias_block(products[k], column); // $with_bias
    }
    store_rows(own, row, column, whole);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let number = workgroup.y * workgroups.x + workgroup.x;
    let start = product_of(number);
    let across = (products[start].columns + 7u) / 8u;
    let row = (number - products[start].first) / across * 8u;
    let column = (number - products[start].first) % across * 8u;
    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    for (var k = start; k < end_after(start); k++) {
        let p = products[k];
        for (var d = 4u * i; d < p.depth; d += 256u) {
            let top = lhs_block(p, row, d);
            let bottom = lhs_block(p, row + 4u, d);
            let left = rhs_block(p, column, d);
            let right = rhs_block(p, column + 4u, d);
            top_left += left * top;
            top_right += right * top;
            bottom_left += left * bottom;
            bottom_right += right * bottom;
        }
    }
    leave(i, 0u, top_left);
    leave(i, 1u, top_right);
    leave(i, 8u, bottom_left);
    leave(i, 9u, bottom_right);
    workgroupBarrier();
    // Sixteen vectors, four invocations to each, and then one.
    let first = 64u * (i / 4u) + 16u * (i % 4u);
    var sum = vec4<f32>();
    for (var k = 0u; k < 16u; k++) {
        sum += shares[first + k];
    }
    // Nobody else reads what lies between.
    shares[first] = sum;
    workgroupBarrier();
    if i % 4u == 0u {
        shares[first] = shares[first] + shares[first + 16u] + shares[first + 32u] + shares[first + 48u];
    }
    workgroupBarrier();
    if i < 4u {
        let at = 8u * (i / 2u) + i % 2u;
        store_block(start, end_after(start), row + 4u * (i / 2u), column + 4u * (i % 2u), block_at(at));
    }
}
