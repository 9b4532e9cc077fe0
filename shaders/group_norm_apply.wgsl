// group_norm_apply: y = activation(x·factor + summand) per channel, with what group_norm_finish made.
//
//   x [rows,C] f32    f [N,2,C] f32 factors and summands    y [rows,C] f32, into a buffer or an image
//
// Dispatch (⌈C/(4·16)⌉, ⌈rows/8⌉, 1).
const TO_IMAGE: bool = false;
const ACTIVATION: u32 = 0u; // 0 none, 1 SiLU

struct Params {
  rows: u32,
  texels: u32,   // ⌈C/4⌉
  firstRow: u32, // index of x's first row in the whole tensor
  pixels: u32,   // rows of a picture
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> f: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var image: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(16, 8)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
  // Invocations past the end repeat the last place: a branch would make the store slow on software adapters.
  let id = min(global.xy, vec2<u32>(p.texels, p.rows) - 1u);
  let n = u32((f32(id.y + p.firstRow) + 0.5) / f32(p.pixels));
  let at = id.y * p.texels + id.x;
  var a = x[at] * f[n * 2u * p.texels + id.x] + f[(n * 2u + 1u) * p.texels + id.x];
  if (ACTIVATION == 1u) { a = a / (1.0 + exp(-a)); }
  if (TO_IMAGE) {
    textureStore(image, vec2<u32>(at % 2048u, at / 2048u), a);
  } else {
    y[at] = a;
  }
}
