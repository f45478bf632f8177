
// The low-rank part of a layer: scale · added_lhs added_rhs', read where it is used, because its depth is a rank.
//
// Bindings
//   3  added_lhs  rows × rank
//   4  added_rhs  columns × rank if RHS_DEPTH_LAST, else rank × columns

@group(0) @binding(3) var<storage, {{ input_access }}> added_lhs: array<vec4<f32>>;
@group(0) @binding(4) var<storage, {{ input_access }}> added_rhs: array<vec4<f32>>;

// Four steps of depth from d on, at one row of added_lhs or column of added_rhs; `last` is the last there is.
fn along_rank(side: u32, d: u32, last: u32) -> u32 {
    return (min(side, last) * size[1].x + d) / 4u;
}

// Four rows of scale · added_lhs from `row` on, four steps from d on, which is a multiple of 4 below the rank.
fn added_lhs_block(row: u32, d: u32) -> mat4x4<f32> {
    let last = size[0].x - 1u;
    return bitcast<f32>(size[1].y) * mat4x4<f32>(
        added_lhs[along_rank(row, d, last)],
        added_lhs[along_rank(row + 1u, d, last)],
        added_lhs[along_rank(row + 2u, d, last)],
        added_lhs[along_rank(row + 3u, d, last)],
    );
}

// Four columns of added_rhs, likewise.
fn added_rhs_block(column: u32, d: u32) -> mat4x4<f32> {
    let columns = size[0].y;
    if RHS_DEPTH_LAST {
        return transpose(mat4x4<f32>(
            added_rhs[along_rank(column, d, columns - 1u)],
            added_rhs[along_rank(column + 1u, d, columns - 1u)],
            added_rhs[along_rank(column + 2u, d, columns - 1u)],
            added_rhs[along_rank(column + 3u, d, columns - 1u)],
        ));
    }
    let at = min(column, columns - 4u) / 4u;
    return mat4x4<f32>(
        added_rhs[d * columns / 4u + at],
        added_rhs[(d + 1u) * columns / 4u + at],
        added_rhs[(d + 2u) * columns / 4u + at],
        added_rhs[(d + 3u) * columns / 4u + at],
    );
}

fn addend(row: u32, column: u32) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    for (var d = 0u; d < size[1].x; d += 4u) {
        sums += added_rhs_block(column, d) * added_lhs_block(row, d);
    }
    return sums;
}
