// attention_tiled: softmax(q·kᵀ·scale)·v for each head without a matrix of scores, for GPUs.
//
//   q [N,T,·] f32    k, v [N,S,·] f32    o [N,T,·] f32
//
// A row of q, k, v or o may be a run of columns of a wider row. PARTS lanes share one query: each keeps OWN vec4s of it and
// of its sum in registers. KEYS keys and values at a time go through workgroup memory; every 4 of them the lanes add up
// their parts of the scores and bring greatest score and sum up to date (online softmax).
// Dispatch (⌈T/64⌉, heads, N). The head size is 4·TEXELS, a multiple of 4·OWN. Sums are f32.
// Source: online softmax, Milakov and Gimelshein 2018, arXiv:1805.02867; tiles as in Dao et al. 2022, arXiv:2205.14135.
const TEXELS: u32 = 10u; // head size / 4
const OWN: u32 = 10u;    // a divisor of TEXELS
const KEYS: u32 = 16u;   // a multiple of 4; 32·KEYS·TEXELS + 2048·PARTS bytes of workgroup memory
const PARTS: u32 = TEXELS / OWN;
const SHARED: u32 = 128u * PARTS;

struct Params {
  queries: u32, // T
  keys: u32,    // S
  causal: u32,  // 1: query i sees keys 0…i
  scale: u32,   // bits of the f32 log2(e)/√d
  qStride: u32, // vec4s of a row, and the first vec4 of head 0
  qFirst: u32,
  kStride: u32,
  kFirst: u32,
  vStride: u32,
  vFirst: u32,
  oStride: u32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> o: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> p: Params;

var<workgroup> ks: array<vec4<f32>, KEYS * TEXELS>;
var<workgroup> vs: array<vec4<f32>, KEYS * TEXELS>;
var<workgroup> scores: array<vec4<f32>, SHARED>; // two turns of [PARTS][64], used alternately

@compute @workgroup_size(64, PARTS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let query = group.x * 64u + lane.x;
  let head = group.y * TEXELS;
  let part = lane.y * OWN;
  let seen = select(p.keys, min(p.keys, query + 1u), p.causal == 1u);
  let end = select(p.keys, min(p.keys, (group.x + 1u) * 64u), p.causal == 1u); // no lane sees more
  let k0 = group.z * p.keys * p.kStride + p.kFirst + head;
  let v0 = group.z * p.keys * p.vStride + p.vFirst + head;
  let q0 = (group.z * p.queries + min(query, p.queries - 1u)) * p.qStride + p.qFirst + head + part;
  var qq: array<vec4<f32>, OWN>;
  var oo: array<vec4<f32>, OWN>;
  for (var c = 0u; c < OWN; c++) { // unroll
    qq[c] = q[q0 + c] * bitcast<f32>(p.scale);
  }
  var top = -1e30;
  var total = 0.0;
  for (var first = 0u; first < end; first += KEYS) {
    for (var i = index; i < KEYS * TEXELS; i += 64u * PARTS) {
      let key = min(first + i / TEXELS, p.keys - 1u);
      ks[i] = k[k0 + key * p.kStride + i % TEXELS];
      vs[i] = v[v0 + key * p.vStride + i % TEXELS];
    }
    workgroupBarrier();
    for (var i = 0u; i < KEYS; i += 4u) {
      let at = i * TEXELS + part;
      var score = vec4<f32>(0.0);
      for (var c = 0u; c < OWN; c++) { // unroll
        score += vec4<f32>(dot(qq[c], ks[at + c]), dot(qq[c], ks[at + TEXELS + c]),
                           dot(qq[c], ks[at + 2u * TEXELS + c]), dot(qq[c], ks[at + 3u * TEXELS + c]));
      }
      if (PARTS > 1u) {
        let turn = i / 4u % 2u * (64u * PARTS) + lane.x;
        scores[turn + 64u * lane.y] = score;
        workgroupBarrier();
        score = vec4<f32>(0.0);
        for (var j = 0u; j < PARTS; j++) { // unroll
          score += scores[turn + 64u * j];
        }
      }
      let key = vec4<u32>(first + i) + vec4<u32>(0u, 1u, 2u, 3u);
      score = select(vec4<f32>(-1e30), score, key < vec4<u32>(seen));
      let high = max(top, max(max(score.x, score.y), max(score.z, score.w)));
      let fade = exp2(top - high);
      let e = exp2(score - high);
      top = high;
      total = total * fade + e.x + e.y + e.z + e.w;
      for (var c = 0u; c < OWN; c++) { // unroll
        oo[c] = oo[c] * fade + e.x * vs[at + c] + e.y * vs[at + TEXELS + c]
          + e.z * vs[at + 2u * TEXELS + c] + e.w * vs[at + 3u * TEXELS + c];
      }
    }
    workgroupBarrier();
  }
  if (query >= p.queries) { return; }
  let at = (group.z * p.queries + query) * p.oStride + head + part;
  for (var c = 0u; c < OWN; c++) { // unroll
    o[at + c] = oo[c] / total;
  }
}
