
// For adapters that are no GPU: every invocation reads what it needs by itself, because there workgroup memory is memory
// like any other, and a barrier costs. A read costs more than what is computed with it, so an invocation makes SIDE × SIDE
// of out, in blocks numbered $r down and $c across, each a line below. Invocations without work cost as much as the others,
// so they are dealt out one after the other, whatever the shape; few to a workgroup, because a workgroup is what a core takes.
//
// Launch
//   an invocation for each SIDE × SIDE of each out, numbered through; workgroups of 8 in rows of any length

const SIDE = {{ side }}u;

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let number = 8u * (workgroup.y * workgroups.x + workgroup.x) + i;
    let start = product_of(number);
    let own = products[start];
    let down = (own.rows + SIDE - 1u) / SIDE;
    let row = SIDE * ((number - own.first) % down);
    let column = SIDE * ((number - own.first) / down);
    if column >= own.columns {
        return;
    }
    var sums$r_$c = mat4x4<f32>();
    for (var k = start; k < end_after(start); k++) {
        let p = products[k];
        let l_stays$r = lhs_stays(p, row + 4u * $r);
        let r_stays$c = rhs_stays(p, column + 4u * $c);
        for (var d = 0u; d < p.depth; d += 4u) {
            let l_goes = lhs_goes(p, d);
            let r_goes = rhs_goes(p, d);
            let l$r = lhs_at(p, l_stays$r + l_goes, d);
            let r$c = rhs_at(p, r_stays$c + r_goes);
            sums$r_$c += r$c * l$r;
        }
        sums$r_$c *= p.scale;
        // With the update as so much more depth its operands are read once for all blocks, as the others are.
        for (var d = 0u; d < p.rank; d += 4u) {
            let l$r = low_block(p, row + 4u * $r, d);
            let r$c = up_block(p, column + 4u * $c, d);
            sums$r_$c += r$c * l$r;
        }
        sums$r_$c += bias_block(p, column + 4u * $c); // $with_bias
    }
    // Here all products are summed, or there is one. Within the loop, where a product of its own could be stored, SwiftShader
    // compiles these stores until the browser ends it.
    store_rows(own, row + 4u * $r, column + 4u * $c, sums$r_$c);
}
