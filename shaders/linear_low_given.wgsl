
// What an update has in the middle, made before.
//
// Bindings
//   3  low  rows × rank

@group(0) @binding(3) var<storage, {{ input_access }}> low: array<vec4<f32>>;

fn low_lines(p: Product, row: u32, d: u32) -> mat4x4<f32> {
    let at = p.low + (min(row + LINES, vec4<u32>(p.rows - 1u)) * p.rank + d) / 4u;
    return mat4x4<f32>(low[at.x], low[at.y], low[at.z], low[at.w]);
}
