// attention_tiled: softmax(q·kᵀ·scale)·v for each head without a matrix of scores, for GPUs.
//
//   q, k, v       f32, heads of D neighbouring channels in rows; each operand has its own row length and first channel
//   y   [N,T,C]   f32 output
//
// A lane owns one query; q, the sum and its normaliser stay in registers. KEYS keys and values at a time go through
// workgroup memory; every 4 of them the lane's greatest score and its sum are brought up to date (online softmax).
// Dispatch (⌈T/64⌉, heads, N). D is a multiple of 4. Sums are f32.
// Source: Rabe and Staats, arXiv:2112.05682; Dao et al., arXiv:2205.14135.
const D: u32 = 40u;     // channels of a head
const KEYS: u32 = 32u;  // a multiple of 4; 8·KEYS·D bytes of workgroup memory
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

var<workgroup> ks: array<vec4<f32>, KEYS * D4>;
var<workgroup> vs: array<vec4<f32>, KEYS * D4>;

fn start(o: Operand, group: vec3<u32>) -> u32 {
  return o.first + group.z * o.outerStep + group.y * o.innerStep;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let query = group.x * 64u + lane;
  let seen = select(p.keys, min(p.keys, query + 1u), p.causal == 1u);
  let end = select(p.keys, min(p.keys, (group.x + 1u) * 64u), p.causal == 1u); // no lane sees more
  let k0 = start(p.k, group);
  let v0 = start(p.v, group);
  var qs: array<vec4<f32>, D4>;
  let q0 = start(p.q, group) + min(query, p.queries - 1u) * p.q.rowStep;
  for (var c = 0u; c < D4; c++) { // unroll
    qs[c] = q[q0 + c] * p.scale;
  }
  var sum: array<vec4<f32>, D4>;
  var most = -1e30;
  var total = 0.0;
  for (var first = 0u; first < end; first += KEYS) {
    for (var i = lane; i < KEYS * D4; i += 64u) {
      let key = min(first + i / D4, p.keys - 1u);
      ks[i] = k[k0 + key * p.k.rowStep + i % D4];
      vs[i] = v[v0 + key * p.v.rowStep + i % D4];
    }
    workgroupBarrier();
    for (var i = 0u; i < KEYS; i += 4u) {
      let at = i * D4;
      var scores = vec4<f32>(0.0);
      for (var c = 0u; c < D4; c++) { // unroll
        scores += vec4<f32>(dot(qs[c], ks[at + c]), dot(qs[c], ks[at + D4 + c]),
                            dot(qs[c], ks[at + 2u * D4 + c]), dot(qs[c], ks[at + 3u * D4 + c]));
      }
      let key = vec4<u32>(first + i) + vec4<u32>(0u, 1u, 2u, 3u);
      scores = select(vec4<f32>(-1e30), scores, key < vec4<u32>(seen));
      let next = max(most, max(max(scores.x, scores.y), max(scores.z, scores.w)));
      let shrink = exp(most - next);
      let e = exp(scores - next);
      most = next;
      total = total * shrink + e.x + e.y + e.z + e.w;
      for (var c = 0u; c < D4; c++) { // unroll
        sum[c] = sum[c] * shrink + e.x * vs[at + c] + e.y * vs[at + D4 + c]
          + e.z * vs[at + 2u * D4 + c] + e.w * vs[at + 3u * D4 + c];
      }
    }
    workgroupBarrier();
  }
  if (query >= p.queries) { return; }
  let to = start(p.y, group) + query * p.y.rowStep;
  for (var c = 0u; c < D4; c++) { // unroll
    y[to + c] = sum[c] / total;
  }
}
