// matmul_plain: products of activations for many pictures and heads at once, for any device: queries with keys, weights
// of attention with values. No subgroups, no workgroup memory.
//
//   x   [Z,M,K]  f32 left operand
//   w            f32 right operand: [Z,N,K] with TRANSPOSED (x·wᵀ), else [Z,K,N] (x·w)
//   y   [Z,M,N]  f32 output, times p.scale
//
// Z = outer·p.heads + inner: operand i starts at vec4 first + outer·outerStep + inner·innerStep and its rows are rowStep
// vec4s apart, so heads may be columns of wider rows. K is padded to a multiple of 4: with TRANSPOSED both operands hold
// zeros there; else x does, and rows of w beyond p.depth are not read. Columns of y beyond N up to the next vec4 are zero
// with TRANSPOSED, else w's own padding.
//
// A lane makes LANE_ROWS rows × 4 columns; a workgroup of 16 × 4 lanes makes 4·LANE_ROWS rows × 64 columns. Lanes side by
// side read the same vec4 of x. Sums are f32.
// Dispatch (⌈M/(4·LANE_ROWS)⌉, ⌈N/64⌉, Z). Goes round its loop K/4 times.
const LANE_ROWS: u32 = 8u;
const TRANSPOSED: bool = true;

struct Operand {
  first: u32,
  rowStep: u32,
  innerStep: u32,
  outerStep: u32,
}

struct Params {
  x: Operand,
  w: Operand,
  y: Operand,
  rows: u32,    // M
  depth: u32,   // K
  columns: u32, // N
  heads: u32,   // inner operands to an outer one
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

fn start(o: Operand, z: u32) -> u32 {
  return o.first + z / p.heads * o.outerStep + z % p.heads * o.innerStep;
}

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
  let top = (group.x * 4u + lane.y) * LANE_ROWS;
  let column = (group.y * 16u + lane.x) * 4u;
  if (column >= p.columns) { return; }
  let x0 = start(p.x, group.z);
  let w0 = start(p.w, group.z);
  var acc: array<vec4<f32>, LANE_ROWS>;
  for (var q = 0u; q * 4u < p.depth; q++) {
    var m: mat4x4<f32>; // 4 of K × 4 columns
    if (TRANSPOSED) {
      for (var j = 0u; j < 4u; j++) { // unroll
        if (column + j < p.columns) { m[j] = w[w0 + (column + j) * p.w.rowStep + q]; }
      }
      m = transpose(m);
    } else {
      for (var j = 0u; j < 4u; j++) { // unroll
        if (q * 4u + j < p.depth) { m[j] = w[w0 + (q * 4u + j) * p.w.rowStep + column / 4u]; }
      }
    }
    for (var r = 0u; r < LANE_ROWS; r++) { // unroll
      let a = x[x0 + min(top + r, p.rows - 1u) * p.x.rowStep + q];
      acc[r] += a.x * m[0] + a.y * m[1] + a.z * m[2] + a.w * m[3];
    }
  }
  let y0 = start(p.y, group.z);
  for (var r = 0u; r < LANE_ROWS; r++) { // unroll
    if (top + r < p.rows) {
      y[y0 + (top + r) * p.y.rowStep + column / 4u] = acc[r] * p.scale;
    }
  }
}
