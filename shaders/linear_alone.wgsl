
// No addend: its rank is 0.

fn addend(p: Product, row: u32, column: u32) -> mat4x4<f32> {
    return mat4x4<f32>();
}
fn added_lhs_block(p: Product, row: u32, d: u32) -> mat4x4<f32> {
    return mat4x4<f32>();
}
fn added_rhs_block(p: Product, column: u32, d: u32) -> mat4x4<f32> {
    return mat4x4<f32>();
}
