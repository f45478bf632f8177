// Some stages of the Walsh-Hadamard transform, without its 1/√n: sums and differences of numbers that lie 2^k apart, for
// neighbouring k. A workgroup does all of them for the numbers that they bring together, so that these are read once and
// written once.
//
// Bindings
//   0  x        numbers.x of them, behind which there are zeros
//   1  y        numbers.y of them, written whole, never read; what would come behind is left out
//   then, if something is multiplied by it, scale: n
//   then, if numbers are read or written elsewhere, order: n, each place once; if written, y has n numbers
//   then  numbers  (of x, of y, workgroups, 0)
//
// Launch
//   n / SIZE workgroups, in rows of any length; n is a power of two
//
// A tile has SIZE / RUN pieces of RUN neighbours, STRIDE apart. The stages are those of pairs between RUN and SIZE / 2 of the
// tile apart.

const SIZE = {{ size }}u;
const RUN = {{ run }}u;
const STRIDE = {{ stride }}u;

@group(0) @binding(0) var<storage, {{ input_access }}> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, {{ input_access }}> scale: array<f32>; // $scaled
@group(0) @binding(3) var<storage, {{ input_access }}> order: array<u32>; // $ordered
@group(0) @binding({{ numbers_binding }}) var<storage, read> numbers: vec4<u32>;

var<workgroup> tile: array<f32, SIZE>;

fn load(i: u32) -> f32 {
    var at = i;
    at = order[i]; // $gathers
    var value = select(0.0, x[min(at, numbers.x - 1u)], at < numbers.x);
    value *= scale[i]; // $scales_first
    return value;
}

fn store(i: u32, sum: f32) {
    if i >= numbers.y {
        return;
    }
    var to = i;
    var value = sum;
    value *= scale[i]; // $scales_last
    to = order[i]; // $scatters
    y[to] = value;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) i: u32,
) {
    let number = workgroup.y * workgroups.x + workgroup.x;
    if number >= numbers.z {
        return;
    }
    let beside = STRIDE / RUN;
    let first = number / beside * (SIZE / RUN * STRIDE) + number % beside * RUN;
    for (var k = i; k < SIZE; k += 64u) {
        tile[k] = load(first + k / RUN * STRIDE + k % RUN);
    }
    workgroupBarrier();
    for (var half = RUN; half < SIZE; half *= 2u) {
        for (var k = i; k < SIZE / 2u; k += 64u) {
            let at = k / half * 2u * half + k % half;
            let a = tile[at];
            let b = tile[at + half];
            tile[at] = a + b;
            tile[at + half] = a - b;
        }
        workgroupBarrier();
    }
    for (var k = i; k < SIZE; k += 64u) {
        store(first + k / RUN * STRIDE + k % RUN, tile[k]);
    }
}
