// matmul_plain: the product of two activations, for any device: y = scale·a·b, or scale·a·bᵀ with TRANSPOSED. No
// subgroups, no workgroup memory.
//
//   a [M,K] f32    b [K,N], transposed [N,K], f32    y [M,N] f32
//
// Rows of a and b may be runs of columns of wider rows. Columns of K beyond the last, up to a multiple of 4, are zero in a.
// A lane makes LANE_ROWS rows × 4 columns; a workgroup of 16 × 4 lanes makes 4·LANE_ROWS rows × 64 columns. Lanes side by
// side read the same vec4 of a. Sums are f32.
// Dispatch (⌈M/(4·LANE_ROWS)⌉, ⌈N/64⌉, 1). Goes round its loop ⌈K/4⌉ times.
const LANE_ROWS: u32 = 8u;
const TRANSPOSED: bool = false;

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

fn load_b(row: u32, quad: u32) -> vec4<f32> {
  return b[p.bFirst + min(row, p.bRows - 1u) * p.bStride + quad];
}

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
  let top = (group.x * 4u + lane.y) * LANE_ROWS;
  let column = group.y * 16u + lane.x;
  if (column >= p.columns) { return; }
  var acc: array<vec4<f32>, LANE_ROWS>;
  for (var q = 0u; q < p.quads; q++) {
    var m: mat4x4<f32>; // 4 of K × 4 columns
    if (TRANSPOSED) {
      let at = column * 4u;
      m = transpose(mat4x4<f32>(load_b(at, q), load_b(at + 1u, q), load_b(at + 2u, q), load_b(at + 3u, q)));
    } else {
      let at = q * 4u;
      m = mat4x4<f32>(load_b(at, column), load_b(at + 1u, column), load_b(at + 2u, column), load_b(at + 3u, column));
    }
    for (var r = 0u; r < LANE_ROWS; r++) { // unroll
      let row = a[p.aFirst + min(top + r, p.rows - 1u) * p.aStride + q];
      acc[r] += row.x * m[0] + row.y * m[1] + row.z * m[2] + row.w * m[3];
    }
  }
  for (var r = 0u; r < LANE_ROWS; r++) { // unroll
    if (top + r < p.rows) {
      y[(top + r) * p.columns + column] = acc[r] * bitcast<f32>(p.scale);
    }
  }
}
