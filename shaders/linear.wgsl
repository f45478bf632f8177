// One matrix product, out = scale · lhs' rhs' + addend, where ' is a transposition or nothing, in the three orientations
// that a linear layer and its backward pass need. This is what all of them share; three more files are appended to it:
// `linear_addend.wgsl` or `linear_alone.wgsl`, which bring `addend`, and `linear_tiled.wgsl` or `linear_direct.wgsl`,
// which bring `main`.
//
// Bindings
//   0  lhs   rows × depth if LHS_DEPTH_LAST, else depth × rows
//   1  rhs   columns × depth if RHS_DEPTH_LAST, else depth × columns
//   2  out   rows × columns, written whole, never read
//   then those of the addend
//   then size  (rows, columns, depth, bits of scale), (rank, bits of the addend's scale, 0, 0); all sides at least 1
// All matrices are contiguous, row-major f32, read and written four at a time: the last dimension of each is a multiple
// of 4. Nothing else is asked of the size: beyond the edge the last rows and columns are read and nothing is written,
// and a step beyond the depth counts as zero.
//
// Launch
//   workgroups (⌈columns / 64⌉, ⌈rows / 64⌉, 1), each for 64 × 64 of out
//
// An invocation makes 8 × 8 of out, as four matrices of WGSL, 4 deep at a time. Such a matrix is an array of columns,
// which here are rows of out: sums[row][column]. A block of lhs is l[row][depth], one of rhs r[depth][column], so that
// sums = r l. No matrix is indexed by a variable, which would move it from registers to memory.

const LHS_DEPTH_LAST = {{ lhs_depth_last }};
const RHS_DEPTH_LAST = {{ rhs_depth_last }};

@group(0) @binding(0) var<storage, {{ input_access }}> lhs: array<vec4<f32>>;
@group(0) @binding(1) var<storage, {{ input_access }}> rhs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding({{ size_binding }}) var<storage, read> size: array<vec4<u32>, 2>;

// Where the four steps of depth from d on lie, at one row (or column) of an operand that has `sides` of them.
fn along_depth(side: u32, d: u32, sides: u32) -> u32 {
    return (min(side, sides - 1u) * size[0].z + d) / 4u;
}

// Where the four rows (or columns) from `side` on lie, at one step of depth.
fn along_sides(side: u32, d: u32, sides: u32) -> u32 {
    return (min(d, size[0].z - 1u) * sides + min(side, sides - 4u)) / 4u;
}

// Four rows of lhs from `row` on, four steps from d on, which is a multiple of 4 below the depth.
fn lhs_block(row: u32, d: u32) -> mat4x4<f32> {
    if LHS_DEPTH_LAST {
        return mat4x4<f32>(
            lhs[along_depth(row, d, size[0].x)],
            lhs[along_depth(row + 1u, d, size[0].x)],
            lhs[along_depth(row + 2u, d, size[0].x)],
            lhs[along_depth(row + 3u, d, size[0].x)],
        );
    }
    return transpose(mat4x4<f32>(
        lhs[along_sides(row, d, size[0].x)],
        select(vec4<f32>(), lhs[along_sides(row, d + 1u, size[0].x)], d + 1u < size[0].z),
        select(vec4<f32>(), lhs[along_sides(row, d + 2u, size[0].x)], d + 2u < size[0].z),
        select(vec4<f32>(), lhs[along_sides(row, d + 3u, size[0].x)], d + 3u < size[0].z),
    ));
}

// Four columns of rhs, likewise.
fn rhs_block(column: u32, d: u32) -> mat4x4<f32> {
    if RHS_DEPTH_LAST {
        return transpose(mat4x4<f32>(
            rhs[along_depth(column, d, size[0].y)],
            rhs[along_depth(column + 1u, d, size[0].y)],
            rhs[along_depth(column + 2u, d, size[0].y)],
            rhs[along_depth(column + 3u, d, size[0].y)],
        ));
    }
    return mat4x4<f32>(
        rhs[along_sides(column, d, size[0].y)],
        select(vec4<f32>(), rhs[along_sides(column, d + 1u, size[0].y)], d + 1u < size[0].z),
        select(vec4<f32>(), rhs[along_sides(column, d + 2u, size[0].y)], d + 2u < size[0].z),
        select(vec4<f32>(), rhs[along_sides(column, d + 3u, size[0].y)], d + 3u < size[0].z),
    );
}

fn store_row(row: u32, column: u32, sums: vec4<f32>) {
    if row < size[0].x && column < size[0].y {
        out[(row * size[0].y + column) / 4u] = sums;
    }
}

fn store_block(row: u32, column: u32, sums: mat4x4<f32>) {
    let whole = bitcast<f32>(size[0].w) * sums + addend(row, column);
    store_row(row, column, whole[0]);
    store_row(row + 1u, column, whole[1]);
    store_row(row + 2u, column, whole[2]);
    store_row(row + 3u, column, whole[3]);
}
