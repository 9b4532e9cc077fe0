// matmul_tiled: the product of two activations, for GPUs: y = scale·a·b, or scale·a·bᵀ with TRANSPOSED.
//
//   a [M,K] f32    b [K,N], transposed [N,K], f32    y [M,N] f32
//
// Rows of a and b may be runs of columns of wider rows. Columns of K beyond the last, up to a multiple of 4, are zero in a.
// One workgroup of 8 × 8 lanes makes 8·LANE_ROWS rows × 64 columns; a lane holds LANE_ROWS rows × 2 vec4 of columns.
// 16 of K at a time of both operands go through workgroup memory. Sums are f32.
// Dispatch (⌈M/(8·LANE_ROWS)⌉, ⌈N/64⌉, 1).
const LANE_ROWS: u32 = 8u; // even: 2, 4 or 8
const TRANSPOSED: bool = false;
const TILE_ROWS: u32 = 8u * LANE_ROWS;
const LOADS: u32 = LANE_ROWS / 2u; // vec4s of a that a lane brings in at a time
const PITCH: u32 = TILE_ROWS + 2u; // keeps the lanes of a store in different banks
const COLUMN_PITCH: u32 = 64u + 4u;

struct Params {
  rows: u32,    // M
  quads: u32,   // ⌈K/4⌉
  columns: u32, // ⌈N/4⌉
  bRows: u32,   // rows of b: K, transposed N
  scale: u32,   // bits of an f32
  aStride: u32, // vec4s of a row, and the first vec4
  aFirst: u32,
  bStride: u32,
  bFirst: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

var<workgroup> left: array<f32, 16u * PITCH>;         // [16 of K][rows]
var<workgroup> right: array<f32, 16u * COLUMN_PITCH>; // [16 of K][columns]

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let top = group.x * TILE_ROWS;
  var acc: array<vec4<f32>, LANE_ROWS * 2u>;
  for (var block = 0u; block < p.quads; block += 4u) {
    let quad = block + index % 4u;
    for (var j = 0u; j < LOADS; j++) { // unroll
      let row = min(top + index / 4u + 16u * j, p.rows - 1u);
      var value = vec4<f32>(0.0);
      if (quad < p.quads) { value = a[p.aFirst + row * p.aStride + quad]; }
      let at = index % 4u * (4u * PITCH) + index / 4u + 16u * j;
      left[at] = value.x;
      left[at + PITCH] = value.y;
      left[at + 2u * PITCH] = value.z;
      left[at + 3u * PITCH] = value.w;
    }
    for (var j = 0u; j < 4u; j++) { // unroll
      var value = vec4<f32>(0.0);
      if (TRANSPOSED) {
        let row = group.y * 64u + index / 4u + 16u * j;
        if (quad < p.quads) { value = b[p.bFirst + min(row, p.bRows - 1u) * p.bStride + quad]; }
        let at = index % 4u * (4u * COLUMN_PITCH) + index / 4u + 16u * j;
        right[at] = value.x;
        right[at + COLUMN_PITCH] = value.y;
        right[at + 2u * COLUMN_PITCH] = value.z;
        right[at + 3u * COLUMN_PITCH] = value.w;
      } else {
        let row = min(block * 4u + index / 16u + 4u * j, p.bRows - 1u);
        let column = min(group.y * 16u + index % 16u, p.columns - 1u);
        value = b[p.bFirst + row * p.bStride + column];
        let at = (index / 16u + 4u * j) * COLUMN_PITCH + index % 16u * 4u;
        right[at] = value.x;
        right[at + 1u] = value.y;
        right[at + 2u] = value.z;
        right[at + 3u] = value.w;
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < 16u; i++) {
      let at = i * COLUMN_PITCH + lane.x * 4u;
      let b0 = vec4<f32>(right[at], right[at + 1u], right[at + 2u], right[at + 3u]);
      let b1 = vec4<f32>(right[at + 32u], right[at + 33u], right[at + 34u], right[at + 35u]);
      for (var r = 0u; r < LANE_ROWS; r++) { // unroll
        let one = left[i * PITCH + lane.y * LANE_ROWS + r];
        acc[r * 2u] += one * b0;
        acc[r * 2u + 1u] += one * b1;
      }
    }
    workgroupBarrier();
  }
  for (var c = 0u; c < 2u; c++) { // unroll
    let column = group.y * 16u + lane.x + 8u * c;
    for (var r = 0u; r < LANE_ROWS; r++) { // unroll
      let row = top + lane.y * LANE_ROWS + r;
      if (row < p.rows && column < p.columns) {
        y[row * p.columns + column] = acc[r * 2u + c] * bitcast<f32>(p.scale);
      }
    }
  }
}
