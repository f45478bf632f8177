// Reading a matrix in the blocks of a GGUF file. Appended in the place of `quantized.wgsl` where a matrix has such.
//
// A row is cut into blocks of BLOCK numbers. A block is a word of one or two f16; where parts of PART numbers have scales of
// their own, a byte for each scale, then for each minimum; the LOW low bits of all numbers in order, and the HIGH high bits.
// A number is scale · (q − ZERO) − minimum, or scale · table[q]. SCALES says what the first word is: 0 one scale, 1 one for
// each half, 2 a scale and what is added, 3 what parts' bytes are multiplied by, 4 the same for minima too.
//
// Bindings
//   1  words  lines × ⌈length / BLOCK⌉ blocks

const BITS = {{ bits }}u;
const BLOCK = {{ block }}u;
const LOW = {{ low }}u;
const HIGH = {{ high }}u;
const PART = {{ part }}u;
const SCALES = {{ scales }}u;
const ZERO = {{ zero }};
const TABLE = {{ table }};
const LOW_BEGINS = {{ low_begins }}u;
const HIGH_BEGINS = {{ high_begins }}u;
const WORDS = {{ words }}u;

@group(0) @binding(1) var<storage, {{ input_access }}> words: array<u32>;

// From the beginning of a line to that of the next, and the four numbered i, which is not of those that fill a line up.
fn fours_of_line(length: u32) -> u32 {
    return BLOCK / 4u * ((length + BLOCK - 1u) / BLOCK);
}

// A signed byte of those that begin at a word.
fn byte_at(start: u32, i: u32) -> f32 {
    return f32(bitcast<i32>(words[start + i / 4u] << (24u - 8u * (i % 4u))) >> 24u);
}

// What 4 bits stand for, four signed bytes to a word.
fn of_table(q: i32) -> f32 {
    let places = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
    return f32(bitcast<i32>(places[q / 4] << u32(24 - 8 * (q % 4))) >> 24u);
}

fn stored_four(i: u32) -> vec4<f32> {
    let start = WORDS * (i / (BLOCK / 4u));
    let inside = 4u * (i % (BLOCK / 4u));
    let low = words[start + LOW_BEGINS + inside * LOW / 32u] >> (inside * LOW % 32u);
    let lows = vec4<u32>(low) >> (LOW * vec4<u32>(0u, 1u, 2u, 3u));
    var q = vec4<i32>(lows & vec4<u32>((1u << LOW) - 1u));
    if LOW == 8u {
        // To the top and back: the sign comes along.
        q = (q << vec4<u32>(24u)) >> vec4<u32>(24u);
    }
    if HIGH > 0u {
        let high = words[start + HIGH_BEGINS + inside * HIGH / 32u] >> (inside * HIGH % 32u);
        let highs = vec4<u32>(high) >> (HIGH * vec4<u32>(0u, 1u, 2u, 3u));
        q |= vec4<i32>((highs & vec4<u32>((1u << HIGH) - 1u)) << vec4<u32>(LOW));
    }
    var values = vec4<f32>(q - vec4<i32>(ZERO));
    if TABLE {
        values = vec4<f32>(of_table(q.x), of_table(q.y), of_table(q.z), of_table(q.w));
    }
    let head = unpack2x16float(words[start]);
    let part = inside / PART;
    if SCALES == 0u {
        return head.x * values;
    }
    if SCALES == 1u {
        return head[part] * values;
    }
    if SCALES == 2u {
        return head.x * values + head.y;
    }
    let scale = head.x * byte_at(start + 1u, part);
    if SCALES == 3u {
        return scale * values;
    }
    return scale * values - head.y * byte_at(start + 1u + BLOCK / PART / 4u, part);
}
