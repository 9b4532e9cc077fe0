// gated_subgroup: a linear layer and GEGLU in one: y = (x·Wvᵀ + bv)·GELU(x·Wgᵀ + bg), for software adapters.
//
//   x   image   input rows [M,C], one texel = 4 channels; row r starts at texel r·channelTexels
//   w   image   weights of value and gate [2K,C], one texel = 8 f16, in panels (nn.panels): those of the values, then
//               those of the gates, so K is a multiple of 4·LANES; of wide ones 4 f32 a texel, as in conv_subgroup
//   b   [2K]    f32 bias
//   y   [M,K]   f32 output, into a buffer or an image
//
// One workgroup is one subgroup of LANES and makes ROWS rows × 4·LANES columns; a lane holds 4 neighbouring values and
// their gates. Rows of x are loaded one a lane and spread by broadcast. Dispatch (⌈M/ROWS⌉, K/(4·LANES), 1). C is a
// multiple of 8. Sums are f32. Source of GEGLU: Shazeer 2020, arXiv:2002.05202.
const LANES: u32 = 8u;
const ROWS: u32 = 16u; // a multiple of 2; rows beyond LANES in whole groups of LANES
const TO_IMAGE: bool = false;
const WIDE: bool = false; // weights are f32
const FOLD: u32 = 2048u;
const GROUPS: u32 = (ROWS + LANES - 1u) / LANES;

struct Params {
  rows: u32,          // M, in this dispatch
  firstInput: u32,    // rows of x before those of this dispatch
  channelTexels: u32, // C/4
  octets: u32,        // C/8
  columns: u32,       // K/4
}

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var w: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var image: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var<uniform> p: Params;

// gelu with erf by Abramowitz and Stegun 7.1.26, error below 1.5e-7.
fn gelu(x: vec4<f32>) -> vec4<f32> {
  let a = x * 0.7071067811865476;
  let t = 1.0 / (1.0 + 0.3275911 * abs(a));
  let q = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return 0.5 * x * (1.0 + sign(a) * (1.0 - q * exp(-a * a)));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let top = group.x * ROWS;
  let column = group.y * LANES + lane;
  var value: array<vec4<f32>, ROWS>;
  var gate: array<vec4<f32>, ROWS>;
  var base: array<u32, GROUPS>;
  for (var g = 0u; g < GROUPS; g++) { // unroll
    base[g] = (min(top + g * LANES + lane, p.rows - 1u) + p.firstInput) * p.channelTexels;
  }
  for (var k = 0u; k < p.octets; k++) {
    var ww: array<vec4<f32>, 16>; // 8 of the values, 8 of the gates
    for (var side = 0u; side < 2u; side++) { // unroll
      let panel = group.y + side * (p.columns / LANES);
      if (WIDE) {
        for (var h = 0u; h < 2u; h++) { // unroll
          let at = ((panel * p.octets + k) * 2u + h) * (4u * LANES) + lane;
          let line = at / FOLD;
          let left = at % FOLD;
          let q0 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left, line)));
          let q1 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left + LANES, line)));
          let q2 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left + 2u * LANES, line)));
          let q3 = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(left + 3u * LANES, line)));
          for (var j = 0u; j < 4u; j++) { // unroll
            ww[side * 8u + h * 4u + j] = vec4<f32>(q0[j], q1[j], q2[j], q3[j]);
          }
        }
      } else {
        let at = (panel * p.octets + k) * (4u * LANES) + lane;
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
          ww[side * 8u + j * 2u] = vec4<f32>(e0.x, e1.x, e2.x, e3.x);
          ww[side * 8u + j * 2u + 1u] = vec4<f32>(e0.y, e1.y, e2.y, e3.y);
        }
      }
    }
    var xx: array<vec4<f32>, GROUPS * 2u>;
    for (var g = 0u; g < GROUPS; g++) { // unroll
      for (var h = 0u; h < 2u; h++) { // unroll
        let at = base[g] + k * 2u + h;
        xx[g * 2u + h] = textureLoad(x, vec2<u32>(at % FOLD, at / FOLD));
      }
    }
    for (var r = 0u; r < ROWS; r += 2u) { // unroll
      for (var h = 0u; h < 2u; h++) { // unroll
        for (var j = 0u; j < 4u; j++) { // unroll
          for (var s = 0u; s < 2u; s++) { // unroll
            {
              let one = subgroupShuffle(xx[(r + s) / LANES * 2u + h][j], (r + s) % LANES);
              value[r + s] += one * ww[h * 4u + j];
              gate[r + s] += one * ww[8u + h * 4u + j];
            }
          }
        }
      }
    }
  }
  let valueBias = b[column];
  let gateBias = b[column + p.columns];
  for (var r = 0u; r < ROWS; r++) { // unroll
    let at = min(top + r, p.rows - 1u) * p.columns + column; // rows past the end repeat the last one, sums included
    let out = (value[r] + valueBias) * gelu(gate[r] + gateBias);
    if (TO_IMAGE) {
      textureStore(image, vec2<u32>(at % FOLD, at / FOLD), out);
    } else {
      y[at] = out;
    }
  }
}
