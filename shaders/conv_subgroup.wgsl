// conv_subgroup: linear layers, 1×1 and 3×3 convolutions as one implicit matrix product, for software adapters.
//
//   x   image     input rows [rows, C], one texel = 4 channels; row r starts at texel r·channelTexels
//   w   image     weights, one texel = 8 f16 along the input channels of one output channel, in panels (nn.panels); of wide
//                 ones 4 f32, and two texels 4·LANES apart in place of one
//   b   [K]   f32 bias
//   v   [N,K] f32 added to every place of picture n (timestep embedding), where added says so
//   z   [M,K] f32 added to the result (residual), likewise
//   y   [M,K] f32 output
//
// One workgroup is one subgroup of LANES and makes ROWS rows × 4·LANES columns; a lane holds 4 neighbouring columns.
// Rows of x are loaded one a lane and spread by broadcast. Images are linear memory folded into texels of FOLD a line.
// Dispatch (⌈M/ROWS⌉, ⌈K/(4·LANES)⌉, 1). C and K may be any multiple of 4. Sums are f32.
const LANES: u32 = 8u;    // subgroup size
const ROWS: u32 = 32u;    // a multiple of 2; rows beyond LANES in whole groups of LANES
const TAPS: u32 = 1u;     // 1 or 9
const ACTIVATION: u32 = 0u; // 0 none, 1 SiLU, 2 GELU, 3 quick GELU, 4 ReLU
const ODD_TEXELS: bool = false; // ⌈C/4⌉ is odd: the second half of a row's last octet is no part of it
const WIDE: bool = false; // weights are f32
const FOLD: u32 = 2048u;
const GROUPS: u32 = (ROWS + LANES - 1u) / LANES;

struct Params {
  rows: u32,          // rows of y in this dispatch
  firstRow: u32,      // index of the first of them in the whole tensor
  firstInput: u32,    // index of x's first row in the whole tensor
  channelTexels: u32, // ⌈C/4⌉, texels of a row of x
  octets: u32,        // ⌈C/8⌉, weight texels of a tap
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

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var w: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> p: Params;

// divide is a/b rounded down, by a float division: software adapters take integer divisions lane by lane. a < 2^22.
fn divide(a: u32, b: u32) -> u32 { return u32((f32(a) + 0.5) / f32(b)); }

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

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let top = group.x * ROWS;
  // Lanes past the last column repeat it, sums included: a branch would make every later store slow.
  let own = min(lane, p.columns - 1u - group.y * LANES);
  let column = group.y * LANES + own;
  var acc: array<vec4<f32>, ROWS>;
  var base: array<u32, GROUPS>;
  var inside: array<bool, GROUPS>;
  var picture: array<vec4<i32>, GROUPS>; // n, top and left of the window in the (doubled) input
  let area = p.width * p.height;
  for (var g = 0u; g < GROUPS; g++) { // unroll
    let r = min(top + g * LANES + lane, p.rows - 1u) + p.firstRow;
    base[g] = (r - p.firstInput) * p.channelTexels;
    if (TAPS == 9u) {
      let n = divide(r, area);
      let place = r - n * area;
      let py = divide(place, p.width);
      let px = place - py * p.width;
      picture[g] = vec4<i32>(i32(n), i32(py * p.stride) - i32(p.padding), i32(px * p.stride) - i32(p.padding), 0);
      inside[g] = true;
    }
  }
  // A doubled picture may be cut: its padding lies round what is left.
  let size = vec2<i32>(select(vec2<u32>(p.inputHeight, p.inputWidth), vec2<u32>(p.height, p.width), p.doubling == 1u));
  for (var tap = 0u; tap < TAPS; tap++) {
    if (TAPS == 9u) {
      for (var g = 0u; g < GROUPS; g++) { // unroll
        let iy = picture[g].y + i32(tap / 3u);
        let ix = picture[g].z + i32(tap % 3u);
        inside[g] = iy >= 0 && ix >= 0 && iy < size.x && ix < size.y;
        let line = u32(picture[g].x) * p.inputHeight + (u32(max(iy, 0)) >> p.doubling);
        let r = line * p.inputWidth + (u32(max(ix, 0)) >> p.doubling);
        base[g] = select(0u, (r - p.firstInput) * p.channelTexels, inside[g]);
      }
    }
    let wrow = (group.y * TAPS + tap) * p.octets;
    for (var k = 0u; k < p.octets; k++) {
      var ww: array<vec4<f32>, 8>;
      {
        if (WIDE) {
          for (var h = 0u; h < 2u; h++) { // unroll
            let at = ((wrow + k) * 2u + h) * (4u * LANES) + own;
            let line = at / FOLD;
            let left = at % FOLD;
            let q0 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left, line)));
            let q1 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left + LANES, line)));
            let q2 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left + 2u * LANES, line)));
            let q3 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left + 3u * LANES, line)));
            for (var j = 0u; j < 4u; j++) { // unroll
              ww[h * 4u + j] = vec4<f32>(q0[j], q1[j], q2[j], q3[j]);
            }
          }
        } else {
          let at = (wrow + k) * (4u * LANES) + own;
          let line = at / FOLD;
          let left = at % FOLD;
          let q0 = textureLoad(w, vec2<u32>(left, line));
          let q1 = textureLoad(w, vec2<u32>(left + LANES, line));
          let q2 = textureLoad(w, vec2<u32>(left + 2u * LANES, line));
          let q3 = textureLoad(w, vec2<u32>(left + 3u * LANES, line));
          for (var j = 0u; j < 4u; j++) { // unroll
            let e0 = unpack2x16float(q0[j]);
            let e1 = unpack2x16float(q1[j]);
            let e2 = unpack2x16float(q2[j]);
            let e3 = unpack2x16float(q3[j]);
            ww[j * 2u] = vec4<f32>(e0.x, e1.x, e2.x, e3.x);
            ww[j * 2u + 1u] = vec4<f32>(e0.y, e1.y, e2.y, e3.y);
          }
        }
      }
      var xx: array<vec4<f32>, GROUPS * 2u>;
      for (var g = 0u; g < GROUPS; g++) { // unroll
        for (var h = 0u; h < 2u; h++) { // unroll
          let at = base[g] + k * 2u + h;
          var texel = textureLoad(x, vec2<u32>(at % FOLD, at / FOLD));
          if (ODD_TEXELS) { texel = select(vec4<f32>(0.0), texel, k * 2u + h < p.channelTexels); }
          if (TAPS == 9u) {
            xx[g * 2u + h] = select(vec4<f32>(0.0), texel, inside[g]);
          } else {
            xx[g * 2u + h] = texel;
          }
        }
      }
      for (var r = 0u; r < ROWS; r += 2u) { // unroll
        for (var h = 0u; h < 2u; h++) { // unroll
          for (var j = 0u; j < 4u; j++) { // unroll
            for (var s = 0u; s < 2u; s++) { // unroll
              acc[r + s] += subgroupShuffle(xx[(r + s) / LANES * 2u + h][j], (r + s) % LANES) * ww[h * 4u + j];
            }
          }
        }
      }
    }
  }
  let bias = b[column];
  for (var r = 0u; r < ROWS; r++) { // unroll
    let row = min(top + r, p.rows - 1u); // rows past the end repeat the last one, sums included
    var out = acc[r] + bias;
    if (p.added % 2u == 1u) { out += v[divide(row + p.firstRow, area) * p.columns + column]; }
    out = activate(out);
    if (p.added >= 2u) { out += z[row * p.columns + column]; }
    y[row * p.columns + column] = out;
  }
}
