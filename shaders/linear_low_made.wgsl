
// What an update has in the middle, low = lhs down', made by every workgroup for its rows while it has lhs at hand, and
// left for the backward pass by the workgroups of the first columns.
//
// Bindings
//   3  low      rows × rank, written whole, never read
//   4  factors  down too, which lies as up does: rank × depth if RHS_DEPTH_LAST, else depth × rank

const RANK = {{ rank }}u;

@group(0) @binding(3) var<storage, read_write> low: array<vec4<f32>>;

// By four steps of the rank, rows of the tile.
var<workgroup> low_tile: array<vec4<f32>, 16u * RANK>;
// Of each invocation its share of four columns; where a tile has floats, in its place.
var<workgroup> own_shares: array<vec4<f32>, 256>; // $in_f16

// Four columns of down from `column` on, four steps of the depth from d on, which is a multiple of 4 below the depth. There
// may be fewer steps where those of lhs beyond them are zero.
fn down_block(p: Product, column: u32, d: u32) -> mat4x4<f32> {
    if RHS_DEPTH_LAST {
        let at = p.down + ((column + LINES) * p.depth + d) / 4u;
        return transpose(mat4x4<f32>(factors[at.x], factors[at.y], factors[at.z], factors[at.w]));
    }
    let at = p.down + (min(d + LINES, vec4<u32>(p.depth - 1u)) * RANK + column) / 4u;
    return mat4x4<f32>(factors[at.x], factors[at.y], factors[at.z], factors[at.w]);
}

// Four columns of low: of each invocation its share, which is four rows by a quarter of the depth.
fn gather_low(p: Product, first_row: u32, keep: bool, i: u32, column: u32, share: mat4x4<f32>) {
    {{ low_shares }}[4u * i] = share[0];
    {{ low_shares }}[4u * i + 1u] = share[1];
    {{ low_shares }}[4u * i + 2u] = share[2];
    {{ low_shares }}[4u * i + 3u] = share[3];
    workgroupBarrier();
    let first = 16u * (i / 4u) + i % 4u;
    let sum = {{ low_shares }}[first] + {{ low_shares }}[first + 4u] + {{ low_shares }}[first + 8u] + {{ low_shares }}[first + 12u];
    low_tile[16u * column + i] = sum;
    if keep && first_row + i < p.rows {
        low[p.low + ((first_row + i) * RANK + column) / 4u] = sum;
    }
    workgroupBarrier();
}

fn low_lines(p: Product, row: u32, d: u32) -> mat4x4<f32> {
    let at = 16u * d + row % TILE;
    return mat4x4<f32>(low_tile[at], low_tile[at + 1u], low_tile[at + 2u], low_tile[at + 3u]);
}
