// attention_subgroup: softmax(q·kᵀ·scale)·v per head without the matrix of scores, for software adapters.
//
//   q [N,T,·] f32 buffer    k, v [N,S,·] f32 images    o [N,T,·] f32, into a buffer or an image
//
// A lane makes QUERIES queries, LANES apart; LANES keys are loaded one a lane and spread by broadcast; the softmax runs
// along per lane with one rescaling per block of keys. A row of q, k, v or o may be a run of columns of a wider row.
// Dispatch (⌈T/(LANES·QUERIES)⌉, heads, N). The head size 4·TEXELS is any multiple of 4. Sums are f32.
// Source: online softmax, Milakov and Gimelshein 2018, arXiv:1805.02867.
const LANES: u32 = 8u;
const QUERIES: u32 = 2u;
const TEXELS: u32 = 10u; // head size / 4
const TO_IMAGE: bool = false;
const FOLD: u32 = 2048u;

struct Params {
  queries: u32, // T
  keys: u32,    // S
  causal: u32,  // 1: query i sees keys 0…i
  scale: u32,   // bits of the f32 log2(e)/√d
  qStride: u32, // texels of a row, and the first texel of head 0
  qFirst: u32,
  kStride: u32,
  kFirst: u32,
  vStride: u32,
  vFirst: u32,
  oStride: u32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> o: array<vec4<f32>>;
@group(0) @binding(4) var image: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let head = group.y * TEXELS;
  var query: array<u32, QUERIES>;
  var last: array<u32, QUERIES>; // the last key that a query sees
  var qq: array<vec4<f32>, QUERIES * TEXELS>;
  var oo: array<vec4<f32>, QUERIES * TEXELS>;
  var top: array<f32, QUERIES>;
  var total: array<f32, QUERIES>;
  for (var i = 0u; i < QUERIES; i++) { // unroll
    query[i] = min((group.x * QUERIES + i) * LANES + lane, p.queries - 1u); // lanes past the end repeat the last query
    last[i] = select(p.keys - 1u, query[i], p.causal == 1u);
    top[i] = -1e30;
    total[i] = 0.0;
    let row = (group.z * p.queries + query[i]) * p.qStride + p.qFirst + head;
    for (var c = 0u; c < TEXELS; c++) { // unroll
      qq[i * TEXELS + c] = q[row + c] * bitcast<f32>(p.scale);
      oo[i * TEXELS + c] = vec4<f32>(0.0);
    }
  }
  for (var j = 0u; j < p.keys; j += LANES) {
    let key = group.z * p.keys + min(j + lane, p.keys - 1u);
    var score: array<f32, QUERIES * LANES>;
    for (var i = 0u; i < QUERIES * LANES; i++) { // unroll
      score[i] = 0.0;
    }
    for (var c = 0u; c < TEXELS; c++) { // unroll
      let at = key * p.kStride + p.kFirst + head + c;
      let kk = textureLoad(k, vec2<u32>(at % FOLD, at / FOLD));
      for (var s = 0u; s < LANES; s++) { // unroll
        let one = subgroupShuffle(kk, s);
        for (var i = 0u; i < QUERIES; i++) { // unroll
          score[i * LANES + s] += dot(qq[i * TEXELS + c], one);
        }
      }
    }
    var fade: array<f32, QUERIES>;
    for (var i = 0u; i < QUERIES; i++) { // unroll
      var high = top[i];
      for (var s = 0u; s < LANES; s++) { // unroll
        score[i * LANES + s] = select(-1e30, score[i * LANES + s], j + s <= last[i] && j + s < p.keys);
        high = max(high, score[i * LANES + s]);
      }
      fade[i] = exp2(top[i] - high);
      top[i] = high;
      total[i] *= fade[i];
      for (var s = 0u; s < LANES; s++) { // unroll
        score[i * LANES + s] = exp2(score[i * LANES + s] - high);
        total[i] += score[i * LANES + s];
      }
    }
    for (var c = 0u; c < TEXELS; c++) { // unroll
      let at = key * p.vStride + p.vFirst + head + c;
      let vv = textureLoad(v, vec2<u32>(at % FOLD, at / FOLD));
      for (var i = 0u; i < QUERIES; i++) { // unroll
        oo[i * TEXELS + c] *= fade[i];
      }
      for (var s = 0u; s < LANES; s++) { // unroll
        let one = subgroupShuffle(vv, s);
        for (var i = 0u; i < QUERIES; i++) { // unroll
          oo[i * TEXELS + c] += score[i * LANES + s] * one;
        }
      }
    }
  }
  for (var i = 0u; i < QUERIES; i++) { // unroll
    let row = (group.z * p.queries + query[i]) * p.oStride + head;
    let scale = 1.0 / total[i];
    for (var c = 0u; c < TEXELS; c++) { // unroll
      let at = row + c;
      if (TO_IMAGE) {
        textureStore(image, vec2<u32>(at % FOLD, at / FOLD), oo[i * TEXELS + c] * scale);
      } else {
        o[at] = oo[i * TEXELS + c] * scale;
      }
    }
  }
}
