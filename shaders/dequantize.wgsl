// A quantized matrix as floats. `quantized.wgsl` is appended, with its words at binding 1.
//
// Bindings
//   0  out   rows × columns, written whole, never read
//   2  size  (rows, columns, 0, 0)
//
// Launch
//   an invocation for each four numbers of a row, in a grid of any width

@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> size: vec4<u32>;

fn store(row: u32, column: u32, value: f32) {
    if column < size.y {
        out[row * size.y + column] = value;
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let four = (workgroup.y * workgroups.x + workgroup.x) * 64u + i;
    let across = (size.y + 3u) / 4u;
    let row = four / across;
    let column = 4u * (four % across);
    if row >= size.x {
        return;
    }
    let values = stored_four(row * fours_of_line(size.y) + four % across);
    store(row, column, values.x);
    store(row, column + 1u, values.y);
    store(row, column + 2u, values.z);
    store(row, column + 3u, values.w);
}
