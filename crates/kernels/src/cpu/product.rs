//! Products of matrices that lie in slices, on the core that asks for one.

use std::ops::Range;

/// A matrix in memory, maybe transposed.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    numbers: &'a [f32],
    /// Rows and columns.
    pub sides: [usize; 2],
    /// Numbers from a row to the next, and from a column to the next.
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Row by row, without gaps.
    pub fn new(numbers: &'a [f32], sides: [usize; 2]) -> Self {
        Self::strided(numbers, sides, sides[1])
    }

    /// Row by row, each `stride` numbers after the one before.
    pub fn strided(numbers: &'a [f32], sides: [usize; 2], stride: usize) -> Self {
        assert!(place_after(sides, stride) <= numbers.len(), "a matrix of {sides:?} is within its numbers");
        Self { numbers, sides, strides: [stride, 1] }
    }

    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.sides, self.strides);
        Self { sides: [columns, rows], strides: [right, down], ..self }
    }

    /// Some of its rows.
    pub fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.sides[0], "rows {rows:?} are among {}", self.sides[0]);
        // No rows may begin behind the last number.
        let from = (rows.start * self.strides[0]).min(self.numbers.len());
        Self { numbers: &self.numbers[from..], sides: [rows.len(), self.sides[1]], ..self }
    }

    /// One of its rows, if that is without gaps.
    pub fn row(self, row: usize) -> Option<&'a [f32]> {
        let numbers = self.numbers.get(row * self.strides[0]..)?;
        (self.strides[1] == 1).then(|| numbers.get(..self.sides[1]))?
    }

    /// Some of its columns.
    pub fn columns(self, columns: Range<usize>) -> Self {
        self.transposed().rows(columns).transposed()
    }
}

/// Where the last number of a matrix ends.
fn place_after([rows, columns]: [usize; 2], stride: usize) -> usize {
    if rows * columns == 0 { 0 } else { (rows - 1) * stride + columns }
}

/// `out = scale · a b`, or `out += scale · a b` with `add`; rows of `out` are `stride` numbers apart.
pub fn product(out: &mut [f32], stride: usize, a: Matrix, b: Matrix, scale: f32, add: bool) {
    let sides = [a.sides[0], b.sides[1]];
    assert!(place_after(sides, stride) <= out.len(), "a product of {sides:?} has room");
    // SAFETY: as just asserted, and the numbers are borrowed for writing.
    unsafe { product_at(out.as_mut_ptr(), stride, a, b, scale, add) }
}

/// The same, where cores write parts of one output.
///
/// # Safety
/// The product's numbers are within one allocation from `out`, and nothing else reads or writes them meanwhile. Without
/// `add` they need not be initialised.
pub unsafe fn product_at(out: *mut f32, stride: usize, a: Matrix, b: Matrix, scale: f32, add: bool) {
    assert_eq!(a.sides[1], b.sides[0], "as many columns as rows");
    // SAFETY: the operands are within their slices, by `Matrix`; the output is the caller's.
    unsafe {
        gemm::gemm(
            a.sides[0],
            b.sides[1],
            a.sides[1],
            out,
            1,
            stride as isize,
            add,
            a.numbers.as_ptr(),
            a.strides[1] as isize,
            a.strides[0] as isize,
            b.numbers.as_ptr(),
            b.strides[1] as isize,
            b.strides[0] as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, so that sums are exact.
    #[test]
    fn products_of_transposed_and_strided_matrices() {
        let a: Vec<f32> = (0..12).map(|i| i as f32).collect();
        // Rows 1 and 2 of [[0, 1], [4, 5], [8, 9]].
        let left = Matrix::strided(&a, [3, 2], 4).rows(1..3);
        let right = Matrix::new(&a[..6], [2, 3]);
        let mut out = [1.0; 8];
        product(&mut out, 4, left, right, 2.0, true);
        assert_eq!(out, [31.0, 49.0, 67.0, 1.0, 55.0, 89.0, 123.0, 1.0]);
        let mut out = [0.0; 4];
        product(&mut out, 2, left.transposed(), left, 1.0, false);
        assert_eq!(out, [80.0, 92.0, 92.0, 106.0]);
    }
}
