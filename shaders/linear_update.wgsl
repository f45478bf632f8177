
// A low-rank update of a layer: scale · low up', added where the output is made. Appended is `linear_low_given.wgsl` or
// `linear_low_made.wgsl`, which bring `low_lines`: four rows of low from one on, four steps of the rank.
//
// Bindings
//   4  factors  up: columns × rank if RHS_DEPTH_LAST, else rank × columns

@group(0) @binding(4) var<storage, {{ input_access }}> factors: array<vec4<f32>>;

// Four rows of scale · low from `row` on, four steps from d on, which is a multiple of 4 below the rank.
fn low_block(p: Product, row: u32, d: u32) -> mat4x4<f32> {
    return p.update_scale * low_lines(p, row, d);
}

// Four columns of up, likewise.
fn up_block(p: Product, column: u32, d: u32) -> mat4x4<f32> {
    if RHS_DEPTH_LAST {
        let at = p.up + (min(column + LINES, vec4<u32>(p.columns - 1u)) * p.rank + d) / 4u;
        return transpose(mat4x4<f32>(factors[at.x], factors[at.y], factors[at.z], factors[at.w]));
    }
    let at = p.up + ((d + LINES) * p.columns + min(column, p.columns - 4u)) / 4u;
    return mat4x4<f32>(factors[at.x], factors[at.y], factors[at.z], factors[at.w]);
}

fn update(p: Product, row: u32, column: u32) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    for (var d = 0u; d < p.rank; d += 4u) {
        sums += up_block(p, column, d) * low_block(p, row, d);
    }
    return sums;
}
