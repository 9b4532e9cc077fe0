// conv_tiled: linear layers, 1×1 and 3×3 convolutions as one implicit matrix product, for GPUs.
//
//   x   [rows,C]  f32 input, channels last; row r starts at vec4 r·channelTexels
//   w             f16 weights in panels of 64 columns (nn.packTiles): [⌈K/64⌉,TAPS,blocks,8,16], one vec4<u32> = 2 inputs ×
//                 4 outputs as packed pairs; wide ones are f32, two vec4<u32> in place of one
//   b   [K]       f32 bias
//   v   [N,K]     f32 added to every place of picture n (timestep embedding), where added says so
//   z   [M,K]     f32 added to the result (residual), likewise
//   y   [M,K]     f32 output
//
// One workgroup of 8 × 8 lanes makes 8·LANE_ROWS rows × 64 columns; a lane holds LANE_ROWS rows × 2 vec4 of columns.
// 16 inputs at a time of both operands go through workgroup memory. C and K are padded to multiples of 4 with zeros.
// Sums are f32. Dispatch (⌈M/(8·LANE_ROWS)⌉, ⌈K/64⌉, 1).
// Source: implicit GEMM as in cuDNN, arXiv:1410.0759.
const LANE_ROWS: u32 = 8u; // even: 2, 4 or 8
const TAPS: u32 = 1u;      // 1 or 9
const ACTIVATION: u32 = 0u; // 0 none, 1 SiLU, 2 GELU, 3 quick GELU, 4 ReLU
const WIDE: bool = false;  // weights are f32
const TILE_ROWS: u32 = 8u * LANE_ROWS;
const LOADS: u32 = LANE_ROWS / 2u; // vec4s of x that a lane brings in at a time
const PITCH: u32 = TILE_ROWS + 2u; // keeps the lanes of a store in different banks

struct Params {
  rows: u32,          // rows of y in this dispatch
  firstRow: u32,      // index of the first of them in the whole tensor
  firstInput: u32,    // index of x's first row in the whole tensor
  channelTexels: u32, // ⌈C/4⌉, vec4s of a row of x
  blocks: u32,        // ⌈C/16⌉, weight blocks of a tap
  columns: u32,       // ⌈K/4⌉, vec4s of a row of y
  width: u32,         // of the output picture
  height: u32,
  inputWidth: u32,    // of the input picture, before any doubling
  inputHeight: u32,
  stride: u32,        // 1 or 2
  doubling: u32,      // 1: the input is doubled by nearest neighbour
  padding: u32,       // zeros before the first row and column: 1, or 0 where padding is at the end only
  added: u32,         // 1: v is added, 2: z, 3: both
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> p: Params;

var<workgroup> xs: array<f32, 16u * PITCH>;      // [16 inputs][rows]
var<workgroup> ws: array<vec4<f32>, 16u * 16u>;  // [16 inputs][16 vec4 of columns]

// erf by Abramowitz and Stegun 7.1.26, error below 1.5e-7.
fn erf4(a: vec4<f32>) -> vec4<f32> {
  let t = 1.0 / (1.0 + 0.3275911 * abs(a));
  let q = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return sign(a) * (1.0 - q * exp(-a * a));
}

fn activate(a: vec4<f32>) -> vec4<f32> {
  if (ACTIVATION == 1u) { return a / (1.0 + exp(-a)); }
  if (ACTIVATION == 2u) { return 0.5 * a * (1.0 + erf4(a * 0.7071067811865476)); }
  if (ACTIVATION == 3u) { return a / (1.0 + exp(-1.702 * a)); }
  if (ACTIVATION == 4u) { return max(a, vec4<f32>(0.0)); }
  return a;
}

// window is the picture's index and the top and left place of its taps for row r of y.
fn window(r: u32) -> vec3<i32> {
  let n = r / (p.width * p.height);
  let place = r % (p.width * p.height);
  let corner = vec2<i32>(vec2<u32>(place / p.width, place % p.width) * p.stride) - vec2<i32>(i32(p.padding));
  return vec3<i32>(i32(n), corner);
}

// source is the row of x under a tap of a window, or -1 outside the picture.
fn source(at: vec3<i32>, tap: u32) -> i32 {
  let place = at.yz + vec2<i32>(i32(tap / 3u), i32(tap % 3u));
  let size = vec2<i32>(select(vec2<u32>(p.inputHeight, p.inputWidth), vec2<u32>(p.height, p.width), p.doubling == 1u));
  if (any(place < vec2<i32>(0)) || any(place >= size)) { return -1; }
  let pixel = place >> vec2<u32>(p.doubling);
  return (at.x * i32(p.inputHeight) + pixel.x) * i32(p.inputWidth) + pixel.y - i32(p.firstInput);
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let top = group.x * TILE_ROWS;
  var acc: array<vec4<f32>, LANE_ROWS * 2u>;
  var corners: array<vec3<i32>, LOADS>;
  var rows: array<i32, LOADS>;
  for (var j = 0u; j < LOADS; j++) { // unroll
    let r = min(top + index / 4u + 16u * j, p.rows - 1u) + p.firstRow;
    corners[j] = window(r);
    rows[j] = i32(r - p.firstInput);
  }
  for (var tap = 0u; tap < TAPS; tap++) {
    if (TAPS == 9u) {
      for (var j = 0u; j < LOADS; j++) { // unroll
        rows[j] = source(corners[j], tap);
      }
    }
    for (var block = 0u; block < p.blocks; block++) {
      let quad = block * 4u + index % 4u;
      for (var j = 0u; j < LOADS; j++) { // unroll
        var value = vec4<f32>(0.0);
        if (rows[j] >= 0 && quad < p.channelTexels) { value = x[u32(rows[j]) * p.channelTexels + quad]; }
        let at = index % 4u * (4u * PITCH) + index / 4u + 16u * j;
        xs[at] = value.x;
        xs[at + PITCH] = value.y;
        xs[at + 2u * PITCH] = value.z;
        xs[at + 3u * PITCH] = value.w;
      }
      let first = (group.y * TAPS + tap) * p.blocks + block;
      for (var j = 0u; j < 2u; j++) { // unroll
        let t = index + 64u * j;
        let at = t / 16u * 32u + t % 16u;
        if (WIDE) {
          ws[at] = bitcast<vec4<f32>>(w[(first * 128u + t) * 2u]);
          ws[at + 16u] = bitcast<vec4<f32>>(w[(first * 128u + t) * 2u + 1u]);
        } else {
          let e = w[first * 128u + t];
          ws[at] = vec4<f32>(unpack2x16float(e.x), unpack2x16float(e.y));
          ws[at + 16u] = vec4<f32>(unpack2x16float(e.z), unpack2x16float(e.w));
        }
      }
      workgroupBarrier();
      for (var k = 0u; k < 16u; k++) {
        let w0 = ws[k * 16u + lane.x];
        let w1 = ws[k * 16u + lane.x + 8u];
        for (var r = 0u; r < LANE_ROWS; r++) { // unroll
          let a = xs[k * PITCH + lane.y * LANE_ROWS + r];
          acc[r * 2u] += a * w0;
          acc[r * 2u + 1u] += a * w1;
        }
      }
      workgroupBarrier();
    }
  }
  for (var c = 0u; c < 2u; c++) { // unroll
    let column = group.y * 16u + lane.x + 8u * c;
    for (var r = 0u; r < LANE_ROWS; r++) { // unroll
      let row = top + lane.y * LANE_ROWS + r;
      if (row < p.rows && column < p.columns) {
        var out = acc[r * 2u + c] + b[column];
        if (p.added % 2u == 1u) { out += v[(row + p.firstRow) / (p.width * p.height) * p.columns + column]; }
        out = activate(out);
        let at = row * p.columns + column;
        if (p.added >= 2u) { out += z[at]; }
        y[at] = out;
      }
    }
  }
}
