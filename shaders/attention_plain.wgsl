// attention_plain: softmax(q·kᵀ·scale)·v for each head without a matrix of scores, for any device: no subgroups, no
// workgroup memory.
//
//   q, k, v       f32, heads of D neighbouring channels in rows; each operand has its own row length and first channel
//   y   [N,T,C]   f32 output
//
// A lane owns one query and goes through its keys one by one, with a running greatest score and sum (online softmax).
// Loops over channels go by STEP vec4s and stay loops: unrolled whole, drivers need seconds to compile them.
// Dispatch (⌈T/64⌉, heads, N). D is a multiple of 4·STEP. Sums are f32. Goes round its loops keys·(1 + 2·D/(4·STEP))
// times; software adapters cut off what is beyond 65535.
// Source: Rabe and Staats, arXiv:2112.05682.
const D: u32 = 40u;   // channels of a head
const STEP: u32 = 5u; // vec4s of a round
const D4: u32 = D / 4u;

struct Operand {
  first: u32,     // vec4 where the first row's first head starts
  rowStep: u32,   // vec4s from row to row
  innerStep: u32, // from head to head
  outerStep: u32, // from picture to picture
}

struct Params {
  q: Operand,
  k: Operand,
  v: Operand,
  y: Operand,
  queries: u32, // T
  keys: u32,
  causal: u32,  // 1: query i sees keys 0…i only
  scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> p: Params;

fn start(o: Operand, group: vec3<u32>) -> u32 {
  return o.first + group.z * o.outerStep + group.y * o.innerStep;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let query = group.x * 64u + lane;
  if (query >= p.queries) { return; }
  let seen = select(p.keys, min(p.keys, query + 1u), p.causal == 1u);
  let q0 = start(p.q, group) + query * p.q.rowStep;
  var qs: array<vec4<f32>, D4>;
  var sum: array<vec4<f32>, D4>;
  for (var c = 0u; c < D4; c++) {
    qs[c] = q[q0 + c] * p.scale;
  }
  var most = -1e30;
  var total = 0.0;
  for (var key = 0u; key < seen; key++) {
    let k0 = start(p.k, group) + key * p.k.rowStep;
    let v0 = start(p.v, group) + key * p.v.rowStep;
    var score = 0.0;
    for (var c = 0u; c < D4; c += STEP) {
      for (var i = 0u; i < STEP; i++) { // unroll
        score += dot(qs[c + i], k[k0 + c + i]);
      }
    }
    let next = max(most, score);
    let shrink = exp(most - next);
    let e = exp(score - next);
    most = next;
    total = total * shrink + e;
    for (var c = 0u; c < D4; c += STEP) {
      for (var i = 0u; i < STEP; i++) { // unroll
        sum[c + i] = sum[c + i] * shrink + e * v[v0 + c + i];
      }
    }
  }
  let to = start(p.y, group) + query * p.y.rowStep;
  for (var c = 0u; c < D4; c++) {
    y[to + c] = sum[c] / total;
  }
}
