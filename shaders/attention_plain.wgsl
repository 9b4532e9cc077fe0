// attention_plain: softmax(q·kᵀ·scale)·v for each head without a matrix of scores, for any device: no subgroups, no
// workgroup memory.
//
//   q [N,T,·] f32    k, v [N,S,·] f32    o [N,T,·] f32
//
// A row of q, k, v or o may be a run of columns of a wider row. A lane makes OWN vec4s of one query's result, so that they
// stay in registers; lanes of the same query each compute its scores. It goes through the keys one by one, with a running
// greatest score and sum (online softmax).
// Dispatch (⌈T/64⌉, heads·PARTS, N). The head size is 4·TEXELS, a multiple of 4·OWN. Sums are f32. Goes round its loops
// S·(1 + PARTS) times; software adapters cut off what is beyond 65535.
// Source: online softmax, Milakov and Gimelshein 2018, arXiv:1805.02867.
const TEXELS: u32 = 10u; // head size / 4
const OWN: u32 = 10u;    // a divisor of TEXELS; beyond 20, drivers need seconds to compile
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
  let query = group.x * 64u + lane;
  if (query >= p.queries) { return; }
  let head = group.y / PARTS * TEXELS;
  let part = head + group.y % PARTS * OWN;
  let seen = select(p.keys, min(p.keys, query + 1u), p.causal == 1u);
  let q0 = (group.z * p.queries + query) * p.qStride + p.qFirst + head;
  var oo: array<vec4<f32>, OWN>;
  var top = -1e30;
  var total = 0.0;
  for (var key = 0u; key < seen; key++) {
    let k0 = (group.z * p.keys + key) * p.kStride + p.kFirst + head;
    let v0 = (group.z * p.keys + key) * p.vStride + p.vFirst + part;
    var products = vec4<f32>(0.0);
    for (var c = 0u; c < TEXELS; c += OWN) {
      for (var i = 0u; i < OWN; i++) { // unroll
        products += q[q0 + c + i] * k[k0 + c + i];
      }
    }
    let score = dot(products, vec4<f32>(bitcast<f32>(p.scale)));
    let high = max(top, score);
    let fade = exp2(top - high);
    let e = exp2(score - high);
    top = high;
    total = total * fade + e;
    for (var c = 0u; c < OWN; c++) { // unroll
      oo[c] = oo[c] * fade + e * v[v0 + c];
    }
  }
  let at = (group.z * p.queries + query) * p.oStride + part;
  for (var c = 0u; c < OWN; c++) { // unroll
    o[at + c] = oo[c] / total;
  }
}
