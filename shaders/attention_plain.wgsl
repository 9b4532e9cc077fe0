// attention_plain: softmax(q·kᵀ·scale)·v for each head without a matrix of scores, for any device: no subgroups, no
// workgroup memory.
//
//   q [N,T,·] f32    k, v [N,S,·] f32    o [N,T,·] f32
//
// A row of q, k, v or o may be a run of columns of a wider row. A lane makes OWN vec4s of the results of QUERIES queries,
// 64 apart, so that they stay in registers; lanes of the same query each compute its scores. It takes 4 keys at a time,
// with a running greatest score and sum (online softmax).
// Dispatch (⌈T/(64·QUERIES)⌉, heads·PARTS, N). The head size is 4·TEXELS, a multiple of 4·OWN. Sums are f32. Goes round
// its loops ⌈S/4⌉·(1 + PARTS) times.
// Source: online softmax, Milakov and Gimelshein 2018, arXiv:1805.02867.
const TEXELS: u32 = 10u; // head size / 4
const OWN: u32 = 10u;    // a divisor of TEXELS; beyond 20, drivers need seconds to compile
const QUERIES: u32 = 1u;
const PARTS: u32 = TEXELS / OWN;

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

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.y / PARTS * TEXELS;
  let part = head + group.y % PARTS * OWN;
  var query: array<u32, QUERIES>;
  var seen: array<u32, QUERIES>;
  var row: array<u32, QUERIES>;
  var top: array<f32, QUERIES>;
  var total: array<f32, QUERIES>;
  var oo: array<vec4<f32>, QUERIES * OWN>;
  var end = 0u;
  for (var i = 0u; i < QUERIES; i++) { // unroll
    query[i] = (group.x * QUERIES + i) * 64u + lane;
    seen[i] = select(p.keys, min(p.keys, query[i] + 1u), p.causal == 1u);
    row[i] = (group.z * p.queries + min(query[i], p.queries - 1u)) * p.qStride + p.qFirst + head;
    top[i] = -1e30;
    end = seen[i]; // the last query sees most
  }
  for (var key = 0u; key < end; key += 4u) {
    var k0: array<u32, 4>;
    var v0: array<u32, 4>;
    for (var j = 0u; j < 4u; j++) { // unroll
      let at = group.z * p.keys + min(key + j, p.keys - 1u);
      k0[j] = at * p.kStride + p.kFirst + head;
      v0[j] = at * p.vStride + p.vFirst + part;
    }
    var score: array<vec4<f32>, QUERIES>;
    for (var i = 0u; i < QUERIES; i++) { // unroll
      score[i] = vec4<f32>(0.0);
    }
    for (var c = 0u; c < TEXELS; c += OWN) {
      for (var l = 0u; l < OWN; l++) { // unroll
        let ka = k[k0[0] + c + l];
        let kb = k[k0[1] + c + l];
        let kc = k[k0[2] + c + l];
        let kd = k[k0[3] + c + l];
        for (var i = 0u; i < QUERIES; i++) { // unroll
          let one = q[row[i] + c + l];
          score[i] += vec4<f32>(dot(one, ka), dot(one, kb), dot(one, kc), dot(one, kd));
        }
      }
    }
    var fade: array<f32, QUERIES>;
    for (var i = 0u; i < QUERIES; i++) { // unroll
      let visible = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(seen[i]);
      score[i] = select(vec4<f32>(-1e30), score[i] * bitcast<f32>(p.scale), visible);
      let high = max(top[i], max(max(score[i].x, score[i].y), max(score[i].z, score[i].w)));
      fade[i] = exp2(top[i] - high);
      top[i] = high;
      score[i] = exp2(score[i] - high);
      total[i] = total[i] * fade[i] + score[i].x + score[i].y + score[i].z + score[i].w;
    }
    for (var l = 0u; l < OWN; l++) { // unroll
      let va = v[v0[0] + l];
      let vb = v[v0[1] + l];
      let vc = v[v0[2] + l];
      let vd = v[v0[3] + l];
      for (var i = 0u; i < QUERIES; i++) { // unroll
        oo[i * OWN + l] = oo[i * OWN + l] * fade[i] + score[i].x * va + score[i].y * vb + score[i].z * vc + score[i].w * vd;
      }
    }
  }
  for (var i = 0u; i < QUERIES; i++) { // unroll
    if (query[i] < p.queries) {
      let at = (group.z * p.queries + query[i]) * p.oStride + part;
      for (var l = 0u; l < OWN; l++) { // unroll
        o[at + l] = oo[i * OWN + l] / total[i];
      }
    }
  }
}
