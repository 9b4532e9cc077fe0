// layer_norm: y = (x − mean)/√(var+ε)·w + b over the channels of each row.
//
//   x [rows,C] f32    w, b [C] f32    y [rows,C] f32, into a buffer or an image
//
// One invocation makes one row. Dispatch (⌈rows/LANES⌉, 1, 1). Source: Ba et al. 2016, arXiv:1607.06450.
const TO_IMAGE: bool = false;
const LANES: u32 = 16u;

struct Params {
  rows: u32,
  texels: u32,   // ⌈C/4⌉
  channels: u32,
  eps: u32,      // bits of an f32
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var image: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = min(id.x, p.rows - 1u) * p.texels; // invocations past the end repeat the last row
  let n = f32(p.channels);
  // Sums of x − x[0] and of its square; channels beyond the last are zeros and are taken out again.
  let first = x[row].x;
  var sums = vec4<f32>(0.0);
  var squares = vec4<f32>(0.0);
  for (var i = 0u; i < p.texels; i++) {
    let d = x[row + i] - first;
    sums += d;
    squares += d * d;
  }
  let excess = f32(4u * p.texels - p.channels);
  let sum = dot(sums, vec4<f32>(1.0)) + excess * first;
  let square = dot(squares, vec4<f32>(1.0)) - excess * first * first;
  let mean = first + sum / n;
  let scale = 1.0 / sqrt(max(square / n - (sum / n) * (sum / n), 0.0) + bitcast<f32>(p.eps));
  for (var i = 0u; i < p.texels; i++) {
    let a = (x[row + i] - mean) * scale * w[i] + b[i];
    let at = row + i;
    if (TO_IMAGE) {
      textureStore(image, vec2<u32>(at % 2048u, at / 2048u), a);
    } else {
      y[at] = a;
    }
  }
}
