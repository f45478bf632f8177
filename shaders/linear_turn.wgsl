
// Turning pairs of columns by the angles of their rows' positions, as `rotary.wgsl` does, where tiles make them.
//
// Bindings, behind those of `linear.wgsl`'s own
//   cosines, sines  period × half a head, four at a time

@group(0) @binding({{ cosines_binding }}) var<storage, {{ input_access }}> cosines: array<vec4<f32>>;
@group(0) @binding({{ sines_binding }}) var<storage, {{ input_access }}> sines: array<vec4<f32>>;

struct Pair {
    left: mat4x4<f32>,
    right: mat4x4<f32>,
}

// Each number with its own.
fn times(a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]);
}

// (l cos − r sin, r cos + l sin), four rows from one on of the pair of this number.
fn turned(p: Product, row: u32, pair: u32, left: mat4x4<f32>, right: mat4x4<f32>) -> Pair {
    if p.period == 0u {
        return Pair(left, right);
    }
    let at = min(row + LINES, vec4<u32>(p.rows - 1u)) % p.period * p.half + pair % p.half;
    let c = mat4x4<f32>(cosines[at.x], cosines[at.y], cosines[at.z], cosines[at.w]);
    let s = mat4x4<f32>(sines[at.x], sines[at.y], sines[at.z], sines[at.w]);
    return Pair(times(left, c) - times(right, s), times(right, c) + times(left, s));
}
