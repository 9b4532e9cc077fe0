// group_norm_sums: per channel, the sum of x − x[first pixel] and of its square over a chunk of pixels.
//
//   x [N,P,C] f32 input, P = H·W pixels     s [N,chunks,2,C] f32 sums, sums of squares
//
// One workgroup walks one chunk of one picture for BLOCK·LANES·4 neighbouring channels; a lane owns its channels, so
// nothing crosses lanes. Subtracting the first pixel keeps the squares exact when the mean is large.
// Dispatch (chunks, ⌈C/(4·LANES·BLOCK)⌉, pictures). Source: Wu and He 2018, arXiv:1803.08494.
const LANES: u32 = 16u;
const BLOCK: u32 = 1u;

struct Params {
  pixels: u32,    // of a picture
  texels: u32,    // ⌈C/4⌉
  chunk: u32,     // pixels of a chunk
  chunks: u32,    // of a picture
  firstChunk: u32, // chunks before the first of this dispatch, in the whole tensor
  firstPixel: u32, // pixels before x's first, in the whole tensor
  shiftStride: u32, // texels from one picture's first pixel to the next one's in shift
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> shift: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> s: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let whole = p.firstChunk + group.z * p.chunks + group.x; // this chunk's place in the tensor
  let picture = whole / p.chunks;
  let start = (whole - picture * p.chunks) * p.chunk;
  let end = min(start + p.chunk, p.pixels);
  var at: array<u32, BLOCK>;
  var first: array<vec4<f32>, BLOCK>;
  var sum: array<vec4<f32>, BLOCK>;
  var squares: array<vec4<f32>, BLOCK>;
  for (var b = 0u; b < BLOCK; b++) { // unroll
    at[b] = min((group.y * BLOCK + b) * LANES + lane, p.texels - 1u);
    first[b] = shift[picture * p.shiftStride + at[b]];
  }
  for (var i = start; i < end; i++) {
    let row = (picture * p.pixels + i - p.firstPixel) * p.texels;
    for (var b = 0u; b < BLOCK; b++) { // unroll
      let d = x[row + at[b]] - first[b];
      sum[b] += d;
      squares[b] += d * d;
    }
  }
  for (var b = 0u; b < BLOCK; b++) { // unroll
    if ((group.y * BLOCK + b) * LANES + lane < p.texels) {
      s[whole * 2u * p.texels + at[b]] = sum[b];
      s[(whole * 2u + 1u) * p.texels + at[b]] = squares[b];
    }
  }
}
