// merge_subgroup: W' = W + U·D for some columns of a matrix in panels (nn.panels), from f16 to f32: a change of low rank.
//
//   w     image  W [out,in] for every tap, one texel = 8 f16 along the inputs of one output
//   up    f32    U [RANK,quads], one vec4 = 4 outputs, of the columns that are changed
//   down  f32    D [RANK,taps,octets,2], one vec4 = 4 inputs
//   y     image  W', f32: the texels of 4·LANES outputs for 4 inputs each, then those for the other 4
//
// An invocation makes 8 inputs of 4 outputs. Rank 0 only widens. Dispatch (width, ⌈places/(64·width)⌉, 1).
const LANES: u32 = 8u;
const FOLD: u32 = 2048u;

struct Params {
  places: u32, // texels of w / 4
  width: u32,  // workgroups along x
  taps: u32,
  octets: u32, // ⌈in/8⌉
  first: u32,  // quad of outputs that the change begins with
  quads: u32,  // of outputs of the change
  rank: u32,
}

@group(0) @binding(0) var w: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(1) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> down: array<vec4<f32>>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32uint, write>;
@group(0) @binding(4) var<uniform> p: Params;

fn store(at: u32, value: vec4<f32>) {
  textureStore(y, vec2<u32>(at % FOLD, at / FOLD), bitcast<vec4<u32>>(value));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let place = (group.y * p.width + group.x) * 64u + index;
  if (place >= p.places) { return; }
  let lane = place % LANES;  // of a panel: column 4·lane + c is at [c, lane]
  let row = place / LANES;   // [panel, tap, octet]
  let column = row / (p.taps * p.octets) * LANES + lane - p.first;
  if (column >= p.quads) { return; } // those before the first wrap round
  var a: array<vec4<f32>, 4>;
  var b: array<vec4<f32>, 4>;
  for (var c = 0u; c < 4u; c++) { // unroll
    let at = (row * 4u + c) * LANES + lane;
    let q = textureLoad(w, vec2<u32>(at % FOLD, at / FOLD));
    a[c] = vec4<f32>(unpack2x16float(q.x), unpack2x16float(q.y));
    b[c] = vec4<f32>(unpack2x16float(q.z), unpack2x16float(q.w));
  }
  let inputs = row % (p.taps * p.octets);
  for (var r = 0u; r < p.rank; r++) {
    let factors = up[r * p.quads + column];
    let d = (r * p.taps * p.octets + inputs) * 2u;
    let one = down[d];
    let two = down[d + 1u];
    for (var c = 0u; c < 4u; c++) { // unroll
      a[c] += factors[c] * one;
      b[c] += factors[c] * two;
    }
  }
  for (var c = 0u; c < 4u; c++) { // unroll
    let to = (row * 8u + c) * LANES + lane;
    store(to, a[c]);
    store(to + 4u * LANES, b[c]);
  }
}
