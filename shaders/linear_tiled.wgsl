
// For GPUs: the workgroup reads 64 rows and 64 columns, 16 steps deep, into workgroup memory (8.5 KiB), a block of each
// operand to an invocation, and every invocation takes its eight rows and columns from there. Where products multiply in f16,
// workgroup memory has f16, sixteen products of an output are added up in f16, and these sums in f32.

const TILE = 64u;
const DEPTH = 16u;
// Vectors that belong to one line of all 16 blocks at a depth, and one more so that lines start in different banks.
const STRIDE = 17u;

alias Number = {{ number }};

var<workgroup> lhs_tile: array<vec4<Number>, 272>;
var<workgroup> rhs_tile: array<vec4<Number>, 272>;

// Neighbours take neighbours in memory: along depth where that is the last dimension, else along the sides.
fn share(invocation: u32, depth_last: bool) -> vec2<u32> {
    if depth_last {
        return vec2<u32>(invocation / 4u, invocation % 4u);
    }
    return vec2<u32>(invocation % 16u, invocation / 16u);
}

fn lhs_of_tile(block: u32, step: u32) -> mat4x4<Number> {
    let at = 4u * step * STRIDE + block;
    return mat4x4<Number>(
        lhs_tile[at],
        lhs_tile[at + STRIDE],
        lhs_tile[at + 2u * STRIDE],
        lhs_tile[at + 3u * STRIDE],
    );
}

fn rhs_of_tile(block: u32, step: u32) -> mat4x4<Number> {
    let at = 4u * step * STRIDE + block;
    return mat4x4<Number>(
        rhs_tile[at],
        rhs_tile[at + STRIDE],
        rhs_tile[at + 2u * STRIDE],
        rhs_tile[at + 3u * STRIDE],
    );
}

// The first column of a block of the tile: the left eight have their partners, half a head further on, in the right eight.
fn column_of(p: Product, tile: u32, block: u32) -> u32 {
    let pair = 8u * tile + block % 8u;
    return 4u * (2u * p.half * (pair / p.half) + pair % p.half + p.half * (block / 8u));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let number = workgroup.y * workgroups.x + workgroup.x;
    let first = product_of(number);
    let across = (products[first].columns + TILE - 1u) / TILE;
    let first_row = (number - products[first].first) / across * TILE;
    let tile = (number - products[first].first) % across;
    let l_share = share(invocation, LHS_DEPTH_LAST);
    let r_share = share(invocation, RHS_DEPTH_LAST);
    let l_at = 4u * l_share.y * STRIDE + l_share.x;
    let r_at = 4u * r_share.y * STRIDE + r_share.x;
    let x = invocation % 8u;
    let y = invocation / 8u;
    // The blocks of an invocation lie apart, so that neighbours read and write neighbours.
    let row = first_row + 4u * y;

    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    for (var k = first; k < end_after(first); k++) {
        let p = products[k];
        let r_column = column_of(p, tile, r_share.x);
        var low$low = mat4x4<f32>();
        for (var start = 0u; start < p.depth; start += DEPTH) {
            var l = mat4x4<f32>();
            var r = mat4x4<f32>();
            if start + 4u * l_share.y < p.depth {
                l = lhs_block(p, first_row + 4u * l_share.x, start + 4u * l_share.y);
                if p.rank > 0u { low$low += down_block(p, 4u * $low, start + 4u * l_share.y) * l; }
            }
            if start + 4u * r_share.y < p.depth {
                r = rhs_block(p, r_column, start + 4u * r_share.y);
            }
            l *= p.loss_scale; // $in_f16
            lhs_tile[l_at] = vec4<Number>(l[0]);
            lhs_tile[l_at + STRIDE] = vec4<Number>(l[1]);
            lhs_tile[l_at + 2u * STRIDE] = vec4<Number>(l[2]);
            lhs_tile[l_at + 3u * STRIDE] = vec4<Number>(l[3]);
            rhs_tile[r_at] = vec4<Number>(r[0]);
            rhs_tile[r_at + STRIDE] = vec4<Number>(r[1]);
            rhs_tile[r_at + 2u * STRIDE] = vec4<Number>(r[2]);
            rhs_tile[r_at + 3u * STRIDE] = vec4<Number>(r[3]);
            workgroupBarrier();
            var some_top_left = mat4x4<f16>(); // $in_f16
            var some_top_right = mat4x4<f16>(); // $in_f16
            var some_bottom_left = mat4x4<f16>(); // $in_f16
            var some_bottom_right = mat4x4<f16>(); // $in_f16
            for (var step = 0u; step < 4u; step++) {
                let top = lhs_of_tile(y, step);
                let bottom = lhs_of_tile(y + 8u, step);
                let left = rhs_of_tile(x, step);
                let right = rhs_of_tile(x + 8u, step);
                top_left += left * top; // $in_f32
                top_right += right * top; // $in_f32
                bottom_left += left * bottom; // $in_f32
                bottom_right += right * bottom; // $in_f32
                some_top_left += left * top; // $in_f16
                some_top_right += right * top; // $in_f16
                some_bottom_left += left * bottom; // $in_f16
                some_bottom_right += right * bottom; // $in_f16
            }
            workgroupBarrier();
            top_left += mat4x4<f32>(some_top_left) * p.inverse_scale; // $in_f16
            top_right += mat4x4<f32>(some_top_right) * p.inverse_scale; // $in_f16
            bottom_left += mat4x4<f32>(some_bottom_left) * p.inverse_scale; // $in_f16
            bottom_right += mat4x4<f32>(some_bottom_right) * p.inverse_scale; // $in_f16
        }
        gather_low(p, first_row, tile == 0u && p.rank > 0u, invocation, 4u * $low, low$low);
        let column = column_of(p, tile, x);
        let partner = column_of(p, tile, x + 8u);
        top_left = p.scale * top_left + update(p, row, column);
        top_right = p.scale * top_right + update(p, row, partner);
        bottom_left = p.scale * bottom_left + update(p, row + 32u, column);
        bottom_right = p.scale * bottom_right + update(p, row + 32u, partner);
        let left_bias = bias_block(p, column); // $with_bias
        let right_bias = bias_block(p, partner); // $with_bias
        top_left += left_bias; // $with_bias
        top_right += right_bias; // $with_bias
        bottom_left += left_bias; // $with_bias
        bottom_right += right_bias; // $with_bias
        let top_pair = rotated(p, row, 8u * tile + x, top_left, top_right); // $with_rotary
        let bottom_pair = rotated(p, row + 32u, 8u * tile + x, bottom_left, bottom_right); // $with_rotary
        top_left = top_pair.left; // $with_rotary
        top_right = top_pair.right; // $with_rotary
        bottom_left = bottom_pair.left; // $with_rotary
        bottom_right = bottom_pair.right; // $with_rotary
        if is_whole(k) {
            store_rows(p, row, column, top_left);
            store_rows(p, row, partner, top_right);
            store_rows(p, row + 32u, column, bottom_left);
            store_rows(p, row + 32u, partner, bottom_right);
            top_left = mat4x4<f32>();
            top_right = mat4x4<f32>();
            bottom_left = mat4x4<f32>();
            bottom_right = mat4x4<f32>();
        }
    }
}
