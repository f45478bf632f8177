
// No update: its rank is 0.

fn update(p: Product, row: u32, column: u32) -> mat4x4<f32> {
    return mat4x4<f32>();
}
fn low_block(p: Product, row: u32, d: u32) -> mat4x4<f32> {
    return mat4x4<f32>();
}
fn up_block(p: Product, column: u32, d: u32) -> mat4x4<f32> {
    return mat4x4<f32>();
}
