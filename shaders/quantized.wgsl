// Reading a matrix in fewer bits. Appended where a shader reads four numbers of a row at a time by `stored_four`.
//
// A row is cut into blocks of 32 numbers, the last one filled up. With 16 bits a block is 16 words of two f16 each;
// with 8 or 4 it is the bits of its largest magnitude, and 8 or 4 words of four or eight integers each, the first
// number lowest, that stand for magnitude · integer / 127 or 7.
//
// Bindings
//   1  words  lines × ⌈length / 32⌉ blocks

const BITS = {{ bits }}u;

@group(0) @binding(1) var<storage, {{ input_access }}> words: array<u32>;

// From the beginning of a line to that of the next, and the four numbered i, which is not of those that fill a line up.
fn fours_of_line(length: u32) -> u32 {
    return 8u * ((length + 31u) / 32u);
}
fn stored_four(i: u32) -> vec4<f32> {
    let block = i / 8u;
    let inside = 4u * (i % 8u);
    if BITS == 16u {
        let word = 16u * block + inside / 2u;
        return vec4<f32>(unpack2x16float(words[word]), unpack2x16float(words[word + 1u]));
    }
    let start = (BITS + 1u) * block;
    let most = bitcast<f32>(words[start]);
    if BITS == 8u {
        return most * unpack4x8snorm(words[start + 1u + inside / 4u]);
    }
    // Four of eight integers, each to the top and back: the sign comes along.
    let half = words[start + 1u + inside / 8u] >> (4u * (inside & 4u));
    let integers = vec4<i32>(vec4<u32>(half) << vec4<u32>(28u, 24u, 20u, 16u)) >> vec4<u32>(28u);
    return most / 7.0 * vec4<f32>(integers);
}
