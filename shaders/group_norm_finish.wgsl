// group_norm_finish: joins the sums of group_norm_sums and makes per channel the factor and the summand of the norm.
//
//   s [N,chunks,2,C] f32 sums     shift [N,C] f32 what was subtracted     w, b [C] f32 weight and bias
//   y [N,2,C] f32: factor w/√(var+ε) and summand b − mean·factor
//
// One invocation makes one group of one picture. Dispatch (⌈groups/64⌉, N, 1).
struct Params {
  pixels: u32,
  texels: u32,   // ⌈C/4⌉
  chunks: u32,
  groups: u32,
  channels: u32, // of a group
  eps: u32,      // bits of an f32
  shiftStride: u32, // texels from one picture's first pixel to the next one's in shift
}

@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read> shift: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= p.groups) { return; }
  let stride = 4u * p.texels;
  let n = f32(p.pixels);
  let first = id.x * p.channels;
  var mean = 0.0;
  for (var c = first; c < first + p.channels; c++) {
    var sum = 0.0;
    for (var i = 0u; i < p.chunks; i++) { sum += s[(id.y * p.chunks + i) * 2u * stride + c]; }
    let m = shift[id.y * 4u * p.shiftStride + c] + sum / n;
    y[(id.y * 2u) * stride + c] = sum / n; // kept here for the second round
    mean += m / f32(p.channels);
  }
  var variance = 0.0;
  for (var c = first; c < first + p.channels; c++) {
    var squares = 0.0;
    for (var i = 0u; i < p.chunks; i++) { squares += s[((id.y * p.chunks + i) * 2u + 1u) * stride + c]; }
    let m = y[(id.y * 2u) * stride + c];
    let d = shift[id.y * 4u * p.shiftStride + c] + m - mean;
    variance += max(squares / n - m * m, 0.0) + d * d;
  }
  let scale = 1.0 / sqrt(variance / f32(p.channels) + bitcast<f32>(p.eps));
  for (var c = first; c < first + p.channels; c++) {
    let factor = w[c] * scale;
    y[(id.y * 2u) * stride + c] = factor;
    y[(id.y * 2u + 1u) * stride + c] = b[c] - mean * factor;
  }
}
