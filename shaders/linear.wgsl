// One matrix product, out = scale · lhs' rhs' + addend, where ' is a transposition or nothing, in the three orientations
// that a linear layer and its backward pass need. This is what all of them share; three more files are appended to it:
// `linear_tiled.wgsl`, `linear_direct.wgsl` or `linear_split.wgsl`, which bring `main`; `floats.wgsl` or `packed.wgsl`,
// which bring rhs and `stored_four`; `linear_addend.wgsl` or `linear_alone.wgsl`, which bring `addend` and its blocks.
//
// Bindings
//   0  lhs   rows × depth if LHS_DEPTH_LAST, else depth × rows
//   1  rhs   columns × depth if RHS_DEPTH_LAST, else depth × columns, in floats or packed
//   2  out   rows × columns, written whole, never read
//   then those of the addend
//   then size  (rows, columns, depth, bits of scale), (rank, bits of the addend's scale, 0, 0); all sides at least 1
// All matrices but a packed rhs are contiguous, row-major f32, read and written four at a time, and the last dimension of
// each is a multiple of 4. Nothing else is asked of the size: beyond the edge the last rows and columns are read and
// nothing is written, and a step beyond the depth counts as zero.
//
// Launch
//   workgroups (⌈columns / 64⌉, ⌈rows / 64⌉, 1), each for 64 × 64 of out, unless `main` says otherwise
//
// An invocation makes 8 × 8 of out, or more, as matrices of WGSL, 4 deep at a time. Such a matrix is an array of columns,
// which here are rows of out: sums[row][column]. A block of lhs is l[row][depth], one of rhs r[depth][column], so that
// sums = r l. No matrix is indexed by a variable, which would move it from registers to memory.

const LHS_DEPTH_LAST = {{ lhs_depth_last }};
const RHS_DEPTH_LAST = {{ rhs_depth_last }};

@group(0) @binding(0) var<storage, {{ input_access }}> lhs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding({{ size_binding }}) var<storage, read> size: array<vec4<u32>, 2>;

// The four steps of depth from d on, at one row of lhs, or the four rows from `row` on, at one step of depth.
fn lhs_along_depth(row: u32, d: u32) -> vec4<f32> {
    return lhs[(min(row, size[0].x - 1u) * size[0].z + d) / 4u];
}
fn lhs_along_rows(row: u32, d: u32) -> vec4<f32> {
    return lhs[(min(d, size[0].z - 1u) * size[0].x + min(row, size[0].x - 4u)) / 4u];
}

// Four rows of lhs from `row` on, four steps from d on, which is a multiple of 4 below the depth.
fn lhs_block(row: u32, d: u32) -> mat4x4<f32> {
    if LHS_DEPTH_LAST {
        return mat4x4<f32>(
            lhs_along_depth(row, d),
            lhs_along_depth(row + 1u, d),
            lhs_along_depth(row + 2u, d),
            lhs_along_depth(row + 3u, d),
        );
    }
    return transpose(mat4x4<f32>(
        lhs_along_rows(row, d),
        select(vec4<f32>(), lhs_along_rows(row, d + 1u), d + 1u < size[0].z),
        select(vec4<f32>(), lhs_along_rows(row, d + 2u), d + 2u < size[0].z),
        select(vec4<f32>(), lhs_along_rows(row, d + 3u), d + 3u < size[0].z),
    ));
}

// The four steps of depth from d on, at one column of rhs, or the four columns from `column` on, at one step of depth.
fn rhs_along_depth(column: u32, d: u32) -> vec4<f32> {
    return stored_four(min(column, size[0].y - 1u), d, size[0].z);
}
fn rhs_along_columns(column: u32, d: u32) -> vec4<f32> {
    return stored_four(min(d, size[0].z - 1u), min(column, size[0].y - 4u), size[0].y);
}

// Four columns of rhs, likewise.
fn rhs_block(column: u32, d: u32) -> mat4x4<f32> {
    if RHS_DEPTH_LAST {
        return transpose(mat4x4<f32>(
            rhs_along_depth(column, d),
            rhs_along_depth(column + 1u, d),
            rhs_along_depth(column + 2u, d),
            rhs_along_depth(column + 3u, d),
        ));
    }
    return mat4x4<f32>(
        rhs_along_columns(column, d),
        select(vec4<f32>(), rhs_along_columns(column, d + 1u), d + 1u < size[0].z),
        select(vec4<f32>(), rhs_along_columns(column, d + 2u), d + 2u < size[0].z),
        select(vec4<f32>(), rhs_along_columns(column, d + 3u), d + 3u < size[0].z),
    );
}

fn store_row(row: u32, column: u32, sums: vec4<f32>) {
    if row < size[0].x && column < size[0].y {
        out[(row * size[0].y + column) / 4u] = sums;
    }
}

fn store_rows(row: u32, column: u32, sums: mat4x4<f32>) {
    store_row(row, column, sums[0]);
    store_row(row + 1u, column, sums[1]);
    store_row(row + 2u, column, sums[2]);
    store_row(row + 3u, column, sums[3]);
}

fn store_block(row: u32, column: u32, sums: mat4x4<f32>) {
    store_rows(row, column, bitcast<f32>(size[0].w) * sums + addend(row, column));
}
