
// Rotary embedding: pairs of columns are rotated by the angles of their rows' positions, as `rotary.wgsl` does, where tiles make
// them.
//
// Bindings, behind those of `linear.wgsl`'s own
//   angles  cosines and sines, each period × half a head at its place, four at a time

@group(0) @binding({{ epilogue_binding }}) var<storage, {{ input_access }}> angles: array<vec4<f32>>;

struct Pair {
    left: mat4x4<f32>,
    right: mat4x4<f32>,
}

// Each number with its own.
fn times(a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]);
}

fn cos_sin_at(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(angles[at.x], angles[at.y], angles[at.z], angles[at.w]);
}

// (l cos − r sin, r cos + l sin), four rows from one on of the pair of this number.
fn rotated(p: Product, row: u32, pair: u32, left: mat4x4<f32>, right: mat4x4<f32>) -> Pair {
    if p.period == 0u {
        return Pair(left, right);
    }
    let at = min(row + LINES, vec4<u32>(p.rows - 1u)) % p.period * p.half + pair % p.half;
    let c = cos_sin_at(p.cosines + at);
    let s = cos_sin_at(p.sines + at);
    return Pair(times(left, c) - times(right, s), times(right, c) + times(left, s));
}
