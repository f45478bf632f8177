
// The low-rank part of a layer: scale · added_lhs added_rhs', read where it is used, because its depth is a rank.
//
// Bindings
//   3  added_lhs  rows × rank
//   4  added_rhs  columns × rank if RHS_DEPTH_LAST, else rank × columns

@group(0) @binding(3) var<storage, {{ input_access }}> added_lhs: array<vec4<f32>>;
@group(0) @binding(4) var<storage, {{ input_access }}> added_rhs: array<vec4<f32>>;

// Four steps of depth from d on, at one row of added_lhs or column of added_rhs; `last` is the last there is.
fn along_rank(side: u32, d: u32, last: u32, rank: u32) -> u32 {
    return (min(side, last) * rank + d) / 4u;
}

// Four rows of scale · added_lhs from `row` on, four steps from d on, which is a multiple of 4 below the rank.
fn added_lhs_block(p: Product, row: u32, d: u32) -> mat4x4<f32> {
    let last = p.rows - 1u;
    return p.added_scale * mat4x4<f32>(
        added_lhs[p.added_lhs + along_rank(row, d, last, p.rank)],
        added_lhs[p.added_lhs + along_rank(row + 1u, d, last, p.rank)],
        added_lhs[p.added_lhs + along_rank(row + 2u, d, last, p.rank)],
        added_lhs[p.added_lhs + along_rank(row + 3u, d, last, p.rank)],
    );
}

// Four columns of added_rhs, likewise.
fn added_rhs_block(p: Product, column: u32, d: u32) -> mat4x4<f32> {
    if RHS_DEPTH_LAST {
        let last = p.columns - 1u;
        return transpose(mat4x4<f32>(
            added_rhs[p.added_rhs + along_rank(column, d, last, p.rank)],
            added_rhs[p.added_rhs + along_rank(column + 1u, d, last, p.rank)],
            added_rhs[p.added_rhs + along_rank(column + 2u, d, last, p.rank)],
            added_rhs[p.added_rhs + along_rank(column + 3u, d, last, p.rank)],
        ));
    }
    let across = p.columns / 4u;
    let at = p.added_rhs + d * across + min(column, p.columns - 4u) / 4u;
    return mat4x4<f32>(
        added_rhs[at],
        added_rhs[at + across],
        added_rhs[at + 2u * across],
        added_rhs[at + 3u * across],
    );
}

fn addend(p: Product, row: u32, column: u32) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    for (var d = 0u; d < p.rank; d += 4u) {
        sums += added_rhs_block(p, column, d) * added_lhs_block(p, row, d);
    }
    return sums;
}
