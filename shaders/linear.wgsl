// One matrix product, out = scale · lhs' rhs' + addend, where ' is a transposition or nothing, in the three orientations
// that a linear layer and its backward pass need. This is what all of them share; three more files are appended to it:
// `linear_tiled.wgsl`, `linear_direct.wgsl` or `linear_split.wgsl`, which bring `main`; `floats.wgsl` or `packed.wgsl`,
// which bring rhs, `fours_of_line` and `stored_four`; `linear_addend.wgsl` or `linear_alone.wgsl`, which bring `addend` and
// its blocks.
//
// Bindings
//   0  lhs   rows × depth if LHS_DEPTH_LAST, else depth × rows
//   1  rhs   columns × depth if RHS_DEPTH_LAST, else depth × columns, in floats or packed
//   2  out   rows × columns, written whole, never read
//   then those of the addend
//   then size  (rows, columns, depth, bits of scale), (rank, bits of the addend's scale, 0, 0); all sides at least 1
// All matrices but a packed rhs are contiguous, row-major f32, read and written four at a time, and the last dimension of
// each is a multiple of 4. Nothing else is asked of the size: beyond the edge the last rows and columns are read and
// nothing is written, and a step beyond the depth adds nothing to finite numbers.
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

// Four lines of a matrix from one on.
const LINES = vec4<u32>(0u, 1u, 2u, 3u);

// Which fours of numbers a block of lhs consists of, one of each of four lines: those at `lhs_stays` + `lhs_goes`, of which the
// first stays as the depth goes on.
fn lhs_stays(row: u32) -> vec4<u32> {
    if LHS_DEPTH_LAST {
        return min(row + LINES, vec4<u32>(size[0].x - 1u)) * (size[0].z / 4u);
    }
    return vec4<u32>(min(row, size[0].x - 4u) / 4u);
}
fn lhs_goes(d: u32) -> vec4<u32> {
    if LHS_DEPTH_LAST {
        return vec4<u32>(d / 4u);
    }
    return min(d + LINES, vec4<u32>(size[0].z - 1u)) * (size[0].x / 4u);
}

// The block there: four rows, and four steps from d on, which is a multiple of 4 below the depth.
fn lhs_at(at: vec4<u32>, d: u32) -> mat4x4<f32> {
    let lines = mat4x4<f32>(lhs[at.x], lhs[at.y], lhs[at.z], lhs[at.w]);
    if LHS_DEPTH_LAST {
        return lines;
    }
    return transpose(mat4x4<f32>(
        lines[0],
        select(vec4<f32>(), lines[1], d + 1u < size[0].z),
        select(vec4<f32>(), lines[2], d + 2u < size[0].z),
        select(vec4<f32>(), lines[3], d + 3u < size[0].z),
    ));
}

// The same for four columns of rhs. Beyond the depth, where lhs is zero, this is its last step.
fn rhs_stays(column: u32) -> vec4<u32> {
    if RHS_DEPTH_LAST {
        return min(column + LINES, vec4<u32>(size[0].y - 1u)) * fours_of_line(size[0].z);
    }
    return vec4<u32>(min(column, size[0].y - 4u) / 4u);
}
fn rhs_goes(d: u32) -> vec4<u32> {
    if RHS_DEPTH_LAST {
        return vec4<u32>(d / 4u);
    }
    return min(d + LINES, vec4<u32>(size[0].z - 1u)) * fours_of_line(size[0].y);
}
fn rhs_at(at: vec4<u32>) -> mat4x4<f32> {
    let lines = mat4x4<f32>(stored_four(at.x), stored_four(at.y), stored_four(at.z), stored_four(at.w));
    if RHS_DEPTH_LAST {
        return transpose(lines);
    }
    return lines;
}

fn lhs_block(row: u32, d: u32) -> mat4x4<f32> {
    return lhs_at(lhs_stays(row) + lhs_goes(d), d);
}
fn rhs_block(column: u32, d: u32) -> mat4x4<f32> {
    return rhs_at(rhs_stays(column) + rhs_goes(d));
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
