// merge_subgroup: W' = W + U·D for some columns of a matrix in panels (nn.panels), from f16 to f32: a change of low rank.
//
//   w     image  W [out,in] for every tap, one texel = 8 f16 along the inputs of one output
//   up    f32    U [RANK,outputs] of the columns that are changed
//   down  f32    D [RANK,taps,octets,2], one vec4 = 4 inputs
//   y     image  W', f32: the texels of 4·LANES outputs for 4 inputs each, then those for the other 4
//
// An invocation makes 8 inputs of one output. Rank 0 only widens. Dispatch (width, ⌈texels/(64·width)⌉, 1).
const LANES: u32 = 8u;
const FOLD: u32 = 2048u;

struct Params {
  texels: u32,  // of w
  width: u32,   // workgroups along x
  taps: u32,
  octets: u32,  // ⌈in/8⌉
  first: u32,   // output that the change begins with
  outputs: u32, // of the change
  rank: u32,
}

@group(0) @binding(0) var w: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read> down: array<vec4<f32>>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32uint, write>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let at = (group.y * p.width + group.x) * 64u + lane;
  if (at >= p.texels) { return; }
  let place = at % (4u * LANES); // [4, LANES]: column 4·lane + c of the panel is at [c, lane]
  let row = at / (4u * LANES);   // [panel, tap, octet]
  let column = row / (p.taps * p.octets) * (4u * LANES) + place % LANES * 4u + place / LANES - p.first;
  if (column >= p.outputs) { return; } // those before the first wrap round
  let q = textureLoad(w, vec2<u32>(at % FOLD, at / FOLD));
  var a = vec4<f32>(unpack2x16float(q.x), unpack2x16float(q.y));
  var b = vec4<f32>(unpack2x16float(q.z), unpack2x16float(q.w));
  let inputs = row % (p.taps * p.octets);
  for (var r = 0u; r < p.rank; r++) {
    let factor = up[r * p.outputs + column];
    let d = (r * p.taps * p.octets + inputs) * 2u;
    a += factor * down[d];
    b += factor * down[d + 1u];
  }
  let to = row * (8u * LANES) + place;
  textureStore(y, vec2<u32>(to % FOLD, to / FOLD), bitcast<vec4<u32>>(a));
  textureStore(y, vec2<u32>((to + 4u * LANES) % FOLD, (to + 4u * LANES) / FOLD), bitcast<vec4<u32>>(b));
}
