// merge_tiled: W' = W + U·D for some columns of a matrix in tiles (nn.packTiles), from f16 to f32: a change of low rank.
//
//   w     f16  W, one vec4<u32> = 2 inputs × 4 outputs: [panels,taps,pairs,16]
//   up    f32  U [RANK,quads], one vec4 = 4 outputs, of the columns that are changed
//   down  f32  D [RANK,taps,pairs], one vec2 = 2 inputs
//   y     f32  W', one vec4 = 4 outputs: [panels,taps,pairs,16,2]
//
// An invocation makes 2 inputs of 4 outputs. Rank 0 only widens. Dispatch (width, ⌈texels/(64·width)⌉, 1).

struct Params {
  texels: u32, // vec4<u32>s of w
  width: u32,  // workgroups along x
  taps: u32,
  pairs: u32,  // of inputs, whole blocks of 8 of them
  first: u32,  // quad of outputs that the change begins with
  quads: u32,  // of outputs of the change
  rank: u32,
}

@group(0) @binding(0) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> down: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let at = (group.y * p.width + group.x) * 64u + lane;
  if (at >= p.texels) { return; }
  let row = at / 16u; // [panel, tap, pair]
  let column = row / (p.taps * p.pairs) * 16u + at % 16u - p.first;
  if (column >= p.quads) { return; } // those before the first wrap round
  let q = w[at];
  var a = vec4<f32>(unpack2x16float(q.x), unpack2x16float(q.y));
  var b = vec4<f32>(unpack2x16float(q.z), unpack2x16float(q.w));
  let inputs = row % (p.taps * p.pairs);
  for (var r = 0u; r < p.rank; r++) {
    let factors = up[r * p.quads + column];
    let d = down[r * p.taps * p.pairs + inputs];
    a += factors * d.x;
    b += factors * d.y;
  }
  y[at * 2u] = a;
  y[at * 2u + 1u] = b;
}
