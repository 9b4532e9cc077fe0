// matmul_tiled: products of activations for many pictures and heads at once, for GPUs: queries with keys, weights of
// attention with values.
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
// One workgroup of 8 × 8 lanes makes 8·LANE_ROWS rows × 64 columns; a lane holds LANE_ROWS rows × 2 vec4 of columns.
// 16 of K at a time of both operands go through workgroup memory. Sums are f32.
// Dispatch (⌈M/(8·LANE_ROWS)⌉, ⌈N/64⌉, Z).
const LANE_ROWS: u32 = 8u; // even: 2, 4 or 8
const TRANSPOSED: bool = true;
const TILE_ROWS: u32 = 8u * LANE_ROWS;
const LOADS: u32 = LANE_ROWS / 2u; // vec4s of x that a lane brings in at a time
const PITCH: u32 = TILE_ROWS + 2u; // keeps the lanes of a store in different banks
const COLUMN_PITCH: u32 = 64u + 4u;

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

var<workgroup> xs: array<f32, 16u * PITCH>;        // [16 of K][rows]
var<workgroup> ws: array<f32, 16u * COLUMN_PITCH>; // [16 of K][columns]

fn start(o: Operand, z: u32) -> u32 {
  return o.first + z / p.heads * o.outerStep + z % p.heads * o.innerStep;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let top = group.x * TILE_ROWS;
  let x0 = start(p.x, group.z);
  let w0 = start(p.w, group.z);
  var acc: array<vec4<f32>, LANE_ROWS * 2u>;
  for (var k = 0u; k < p.depth; k += 16u) {
    let quad = k / 4u + index % 4u;
    let to = index % 4u * (4u * PITCH) + index / 4u;
    for (var j = 0u; j < LOADS; j++) { // unroll
      let row = top + index / 4u + 16u * j;
      var value = vec4<f32>(0.0);
      if (row < p.rows && quad * 4u < p.depth) { value = x[x0 + row * p.x.rowStep + quad]; }
      xs[to + 16u * j] = value.x;
      xs[to + 16u * j + PITCH] = value.y;
      xs[to + 16u * j + 2u * PITCH] = value.z;
      xs[to + 16u * j + 3u * PITCH] = value.w;
    }
    if (TRANSPOSED) {
      let at = index % 4u * (4u * COLUMN_PITCH) + index / 4u;
      for (var j = 0u; j < 4u; j++) { // unroll
        let row = group.y * 64u + index / 4u + 16u * j;
        var value = vec4<f32>(0.0);
        if (row < p.columns && quad * 4u < p.depth) { value = w[w0 + row * p.w.rowStep + quad]; }
        ws[at + 16u * j] = value.x;
        ws[at + 16u * j + COLUMN_PITCH] = value.y;
        ws[at + 16u * j + 2u * COLUMN_PITCH] = value.z;
        ws[at + 16u * j + 3u * COLUMN_PITCH] = value.w;
      }
    } else {
      let column = group.y * 16u + index % 16u;
      for (var j = 0u; j < 4u; j++) { // unroll
        let row = k + index / 16u + 4u * j;
        var value = vec4<f32>(0.0);
        if (row < p.depth && column * 4u < p.columns) { value = w[w0 + row * p.w.rowStep + column]; }
        let at = (index / 16u + 4u * j) * COLUMN_PITCH + index % 16u * 4u;
        ws[at] = value.x;
        ws[at + 1u] = value.y;
        ws[at + 2u] = value.z;
        ws[at + 3u] = value.w;
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < 16u; i++) {
      let at = i * COLUMN_PITCH + lane.x * 4u;
      let left = vec4<f32>(ws[at], ws[at + 1u], ws[at + 2u], ws[at + 3u]);
      let right = vec4<f32>(ws[at + 32u], ws[at + 33u], ws[at + 34u], ws[at + 35u]);
      for (var r = 0u; r < LANE_ROWS; r++) { // unroll
        let a = xs[i * PITCH + lane.y * LANE_ROWS + r];
        acc[r * 2u] += a * left;
        acc[r * 2u + 1u] += a * right;
      }
    }
    workgroupBarrier();
  }
  let y0 = start(p.y, group.z);
  for (var c = 0u; c < 2u; c++) { // unroll
    let column = group.y * 16u + lane.x + 8u * c;
    for (var r = 0u; r < LANE_ROWS; r++) { // unroll
      let row = top + lane.y * LANE_ROWS + r;
      if (row < p.rows && column * 4u < p.columns) {
        y[y0 + row * p.y.rowStep + column] = acc[r * 2u + c] * p.scale;
      }
    }
  }
}
