enable f16; // $in_f16
// Matrix products, out = scale · lhs' rhs' + update + bias, where ' is a transposition or nothing, in the three orientations that a
// linear layer and its backward pass need: several in one dispatch, each with an out of its own or all summed into one, and
// perhaps an epilogue where an output is made. This is what all of them share; appended are
// `linear_tiled.wgsl`, `linear_direct.wgsl` or `linear_split.wgsl`, which bring `main`; `floats.wgsl` or
// `quantized.wgsl`, which bring rhs, `fours_of_line` and `stored_four`; `linear_update.wgsl` or `linear_alone.wgsl`,
// which bring `update` and its blocks; and what these name.
//
// Bindings
//   0  lhs   rows × depth if LHS_DEPTH_LAST, else depth × rows
//   1  rhs   columns × depth if RHS_DEPTH_LAST, else depth × columns, in floats or quantized
//   2  out   rows × columns, written whole; read, by who has written it, if it is a gate
//   then those of the update
//   then that of the epilogue:
//     a residual: rows × columns, which is added to out
//     SwiGLU of two products, the gate and what it gates: values, out of the second times the opened gate, written whole
//     its gradient: gates, what such values were made of. Out is the gradient of the gate then, and beside it are that of what
//       was gated and the values
//     rotary embedding: that of `linear_rotary.wgsl`
//   then, if there are some, biases: a number for each column of a product
//   then, if the operands lie in two buffers, the other lhs and the other rhs
//   then the products; those that are summed have the same rows and columns, and a scale of 1
// Each binding has operands of several products, each at its own place. All matrices but a quantized rhs are
// contiguous, row-major f32, read and written four at a time, and the last dimension of each is a multiple of 4.
// Nothing else is asked of the sizes, which are at least 1: beyond the edge the last rows and columns are read and
// nothing is written, and a step beyond the depth adds nothing to finite numbers.
//
// Launch
//   for each out ⌈columns / 64⌉ ⌈rows / 64⌉ workgroups, in rows of any length, each for 64 × 64 of it, unless `main` says
//   otherwise
//
// An invocation makes 8 × 8 of out, or more, as matrices of WGSL, 4 deep at a time. Such a matrix is an array of columns,
// which here are rows of out: sums[row][column]. A block of lhs is l[row][depth], one of rhs r[depth][column], so that
// sums = r l. No matrix is indexed by a variable, which would move it from registers to memory.

struct Product {
    rows: u32,
    columns: u32,
    depth: u32,
    // Of the update.
    rank: u32,
    // Where the operands begin, in fours of numbers, which those that fill up a quantized line are among.
    lhs: u32,
    rhs: u32,
    low: u32,
    down: u32,
    up: u32,
    out: u32,
    // The number of the workgroup, or what `main` numbers, that is its first.
    first: u32,
    scale: f32,
    update_scale: f32,
    // 1 if they are in the other memory.
    other_lhs: u32,
    other_rhs: u32,
    // Where it begins, or NO_BIAS.
    bias: u32,
    // Of a gated activation, where its gate begins: in out, or with what it gates in `gates`; and where in out the gradient
    // of what is gated and the value begin.
    gate: u32,
    gated: u32,
    d_gated: u32,
    value: u32,
    // Columns are made in pairs: of blocks of four in half a head, so many. If the pairs are rotated, by angles that begin again
    // after so many rows, else 0; and where these begin.
    half: u32,
    period: u32,
    cosines: u32,
    sines: u32,
    // Lhs is multiplied by a power of two, so that f16 holds it best, and what comes of it by its reciprocal.
    loss_scale: f32, // $in_f16
    inverse_scale: f32, // $in_f16
}

const NO_BIAS = 0xffffffffu;

const LHS_DEPTH_LAST = {{ lhs_depth_last }};
const RHS_DEPTH_LAST = {{ rhs_depth_last }};
const PRODUCTS = {{ products }}u;
const SUMMED = {{ summed }};
// Whether one maker goes through all products, because they are summed or what it does with them needs all.
const JOINED = {{ joined }};

@group(0) @binding(0) var<storage, {{ input_access }}> lhs: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding({{ epilogue_binding }}) var<storage, {{ input_access }}> resid: array<vec4<f32>>; // $with_residual
@group(0) @binding({{ epilogue_binding }}) var<storage, read_write> values: array<vec4<f32>>; // $with_swiglu
@group(0) @binding({{ epilogue_binding }}) var<storage, {{ input_access }}> gates: array<vec4<f32>>; // $with_d_swiglu
@group(0) @binding({{ bias_binding }}) var<storage, {{ input_access }}> biases: array<vec4<f32>>; // $with_bias
@group(0) @binding({{ other_lhs_binding }}) var<storage, {{ input_access }}> other_lhs: array<vec4<f32>>; // $with_other
@group(0) @binding({{ other_rhs_binding }}) var<storage, {{ input_access }}> other_rhs: array<vec4<f32>>; // $with_other
@group(0) @binding({{ products_binding }}) var<storage, read> products: array<Product, {{ products }}>;

// The first product that the maker of this number goes through, and the one after the last.
fn product_of(number: u32) -> u32 {
    var k = 0u;
    if !JOINED {
        for (var i = 1u; i < PRODUCTS; i++) {
            k += u32(number >= products[i].first);
        }
    }
    return k;
}
fn end_after(k: u32) -> u32 {
    return select(k + 1u, PRODUCTS, JOINED);
}
// Whether what was made up to k is an output.
fn is_whole(k: u32) -> bool {
    return !SUMMED || k + 1u == PRODUCTS;
}

// Four lines of a matrix from one on.
const LINES = vec4<u32>(0u, 1u, 2u, 3u);

// Which fours of numbers a block of lhs consists of, one of each of four lines: those at `lhs_stays` + `lhs_goes`, of which the
// first stays as the depth goes on.
fn lhs_stays(p: Product, row: u32) -> vec4<u32> {
    if LHS_DEPTH_LAST {
        return p.lhs + min(row + LINES, vec4<u32>(p.rows - 1u)) * (p.depth / 4u);
    }
    return vec4<u32>(p.lhs + min(row, p.rows - 4u) / 4u);
}
fn lhs_goes(p: Product, d: u32) -> vec4<u32> {
    if LHS_DEPTH_LAST {
        return vec4<u32>(d / 4u);
    }
    return min(d + LINES, vec4<u32>(p.depth - 1u)) * (p.rows / 4u);
}

fn lhs_lines(p: Product, at: vec4<u32>) -> mat4x4<f32> {
    if p.other_lhs == 1u { // $with_other
        return mat4x4<f32>(other_lhs[at.x], other_lhs[at.y], other_lhs[at.z], other_lhs[at.w]); // $with_other
    } // $with_other
    return mat4x4<f32>(lhs[at.x], lhs[at.y], lhs[at.z], lhs[at.w]);
}

// The block there: four rows, and four steps from d on, which is a multiple of 4 below the depth.
fn lhs_at(p: Product, at: vec4<u32>, d: u32) -> mat4x4<f32> {
    let lines = lhs_lines(p, at);
    if LHS_DEPTH_LAST {
        return lines;
    }
    return transpose(mat4x4<f32>(
        lines[0],
        select(vec4<f32>(), lines[1], d + 1u < p.depth),
        select(vec4<f32>(), lines[2], d + 2u < p.depth),
        select(vec4<f32>(), lines[3], d + 3u < p.depth),
    ));
}

// The same for four columns of rhs. Beyond the depth, where lhs is zero, this is its last step.
fn rhs_stays(p: Product, column: u32) -> vec4<u32> {
    if RHS_DEPTH_LAST {
        return p.rhs + min(column + LINES, vec4<u32>(p.columns - 1u)) * fours_of_line(p.depth);
    }
    return vec4<u32>(p.rhs + min(column, p.columns - 4u) / 4u);
}
fn rhs_goes(p: Product, d: u32) -> vec4<u32> {
    if RHS_DEPTH_LAST {
        return vec4<u32>(d / 4u);
    }
    return min(d + LINES, vec4<u32>(p.depth - 1u)) * fours_of_line(p.columns);
}
fn rhs_lines(p: Product, at: vec4<u32>) -> mat4x4<f32> {
    if p.other_rhs == 1u { // $with_other
        return mat4x4<f32>(other_rhs[at.x], other_rhs[at.y], other_rhs[at.z], other_rhs[at.w]); // $with_other
    } // $with_other
    return mat4x4<f32>(stored_four(at.x), stored_four(at.y), stored_four(at.z), stored_four(at.w));
}
fn rhs_at(p: Product, at: vec4<u32>) -> mat4x4<f32> {
    let lines = rhs_lines(p, at);
    if RHS_DEPTH_LAST {
        return transpose(lines);
    }
    return lines;
}

fn lhs_block(p: Product, row: u32, d: u32) -> mat4x4<f32> {
    return lhs_at(p, lhs_stays(p, row) + lhs_goes(p, d), d);
}
fn rhs_block(p: Product, column: u32, d: u32) -> mat4x4<f32> {
    return rhs_at(p, rhs_stays(p, column) + rhs_goes(p, d));
}

// Of four columns, the same for four rows.
fn bias_block(p: Product, column: u32) -> mat4x4<f32> { // $with_bias
    if p.bias == NO_BIAS { return mat4x4<f32>(); } // $with_bias
    let four = biases[p.bias + min(column, p.columns - 4u) / 4u]; // $with_bias
    return mat4x4<f32>(four, four, four, four); // $with_bias
} // $with_bias

// σ of a gate; below −80 the exponential leaves the range of f32, and σ is as good as zero.
fn gate_is_open(gate: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-max(gate, vec4<f32>(-80.0))));
}

fn store_row(p: Product, row: u32, column: u32, sums: vec4<f32>) {
    if row < p.rows && column < p.columns {
        let i = (row * p.columns + column) / 4u;
        var whole = sums;
        whole += resid[p.out + i]; // $with_residual
        if p.gate != p.out { values[i] = out[p.gate + i] * gate_is_open(out[p.gate + i]) * whole; } // $with_swiglu
        let gate = gates[p.gate + i]; // $with_d_swiglu
        let up = gates[p.gated + i]; // $with_d_swiglu
        let open = gate_is_open(gate); // $with_d_swiglu
        out[p.d_gated + i] = whole * gate * open; // $with_d_swiglu
        out[p.value + i] = gate * open * up; // $with_d_swiglu
        whole *= up * open * (1.0 + gate * (1.0 - open)); // $with_d_swiglu
        out[p.out + i] = whole;
    }
}

fn store_rows(p: Product, row: u32, column: u32, sums: mat4x4<f32>) {
    store_row(p, row, column, sums[0]);
    store_row(p, row + 1u, column, sums[1]);
    store_row(p, row + 2u, column, sums[2]);
    store_row(p, row + 3u, column, sums[3]);
}
