
// For adapters that are no GPU: every invocation reads what it needs by itself, because there workgroup memory is memory
// like any other, and a barrier costs.

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = 8u * id.y;
    let column = 8u * id.x;
    if row >= size[0].x || column >= size[0].y {
        return;
    }
    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    for (var d = 0u; d < size[0].z; d += 4u) {
        let top = lhs_block(row, d);
        let bottom = lhs_block(row + 4u, d);
        let left = rhs_block(column, d);
        let right = rhs_block(column + 4u, d);
        top_left += left * top;
        top_right += right * top;
        bottom_left += left * bottom;
        bottom_right += right * bottom;
    }
    store_block(row, column, top_left);
    store_block(row, column + 4u, top_right);
    store_block(row + 4u, column, bottom_left);
    store_block(row + 4u, column + 4u, bottom_right);
}
