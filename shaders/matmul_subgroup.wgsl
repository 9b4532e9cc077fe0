// matmul_subgroup: the product of two activations, for software adapters: y = scale·a·b, or scale·a·bᵀ with TRANSPOSED.
//
//   a [M,K] f32 image    b [K,N], transposed [N,K], f32 image    y [M,N] f32 buffer
//
// Rows of a and b may be runs of columns of wider rows. One workgroup is one subgroup and makes ROWS × 4·LANES.
// Rows of b past its end repeat the last one; where they meet columns of a, those must be zero.
// Dispatch (⌈M/ROWS⌉, ⌈N/(4·LANES)⌉, 1). Sums are f32.
const LANES: u32 = 8u;
const ROWS: u32 = 16u;
const TRANSPOSED: bool = false;
const FOLD: u32 = 2048u;
const GROUPS: u32 = (ROWS + LANES - 1u) / LANES;

struct Params {
  rows: u32,    // M
  quads: u32,   // ⌈K/4⌉
  columns: u32, // ⌈N/4⌉
  bRows: u32,   // rows of b
  scale: u32,   // bits of an f32
  aStride: u32, // texels of a row, and the first texel
  aFirst: u32,
  bStride: u32,
  bFirst: u32,
}

@group(0) @binding(0) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var b: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

fn load_b(row: u32, texel: u32) -> vec4<f32> {
  let at = p.bFirst + min(row, p.bRows - 1u) * p.bStride + texel;
  return textureLoad(b, vec2<u32>(at % FOLD, at / FOLD));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let top = group.x * ROWS;
  let column = min(group.y * LANES + lane, p.columns - 1u); // lanes past the end repeat the last column
  var acc: array<vec4<f32>, ROWS>;
  for (var k = 0u; k < p.quads; k++) {
    var bb: array<vec4<f32>, 4>;
    if (TRANSPOSED) {
      let q0 = load_b(column * 4u, k);
      let q1 = load_b(column * 4u + 1u, k);
      let q2 = load_b(column * 4u + 2u, k);
      let q3 = load_b(column * 4u + 3u, k);
      for (var j = 0u; j < 4u; j++) { // unroll
        bb[j] = vec4<f32>(q0[j], q1[j], q2[j], q3[j]);
      }
    } else {
      for (var j = 0u; j < 4u; j++) { // unroll
        bb[j] = load_b(k * 4u + j, column);
      }
    }
    var aa: array<vec4<f32>, GROUPS>;
    for (var g = 0u; g < GROUPS; g++) { // unroll
      let at = p.aFirst + min(top + g * LANES + lane, p.rows - 1u) * p.aStride + k;
      aa[g] = textureLoad(a, vec2<u32>(at % FOLD, at / FOLD));
    }
    for (var r = 0u; r < ROWS; r += 2u) { // unroll
      for (var j = 0u; j < 4u; j++) { // unroll
        for (var s = 0u; s < 2u; s++) { // unroll
          acc[r + s] += subgroupShuffle(aa[(r + s) / LANES][j], (r + s) % LANES) * bb[j];
        }
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) { // unroll
    // Rows past the end repeat the last one, sums included.
    y[min(top + r, p.rows - 1u) * p.columns + column] = acc[r] * bitcast<f32>(p.scale);
  }
}
