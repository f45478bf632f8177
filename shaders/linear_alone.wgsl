
// No addend.

fn addend(row: u32, column: u32) -> mat4x4<f32> {
    return mat4x4<f32>();
}
