// activate: y = f(x) elementwise; with GATED the channels are halved: y = x[:C]·f(x[C:]).
//
//   x [rows,C] or [rows,2C] f32    y [rows,C] f32, into a buffer or an image
//
// Dispatch (⌈C/(4·16)⌉, ⌈rows/8⌉, 1). Source of GEGLU: Shazeer 2020, arXiv:2002.05202.
const TO_IMAGE: bool = false;
const GATED: bool = false;
const ACTIVATION: u32 = 2u; // 1 SiLU, 2 GELU, 3 quick GELU, 4 ReLU

struct Params {
  rows: u32,
  texels: u32, // ⌈C/4⌉ of y
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var image: texture_storage_2d<rgba32float, write>;
@group(0) @binding(3) var<uniform> p: Params;

// erf by Abramowitz and Stegun 7.1.26, error below 1.5e-7.
fn erf4(a: vec4<f32>) -> vec4<f32> {
  let t = 1.0 / (1.0 + 0.3275911 * abs(a));
  let q = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return sign(a) * (1.0 - q * exp(-a * a));
}

fn activate(a: vec4<f32>) -> vec4<f32> {
  if (ACTIVATION == 1u) { return a / (1.0 + exp(-a)); }
  if (ACTIVATION == 2u) { return 0.5 * a * (1.0 + erf4(a * 0.7071067811865476)); }
  if (ACTIVATION == 3u) { return a / (1.0 + exp(-1.702 * a)); }
  if (ACTIVATION == 4u) { return max(a, vec4<f32>(0.0)); }
  return a;
}

@compute @workgroup_size(16, 8)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
  // Invocations past the end repeat the last place: a branch would make the store slow on software adapters.
  let id = min(global.xy, vec2<u32>(p.texels, p.rows) - 1u);
  let at = id.y * p.texels + id.x;
  var a: vec4<f32>;
  if (GATED) {
    a = x[at + id.y * p.texels] * activate(x[at + (id.y + 1u) * p.texels]);
  } else {
    a = activate(x[at]);
  }
  if (TO_IMAGE) {
    textureStore(image, vec2<u32>(at % 2048u, at / 2048u), a);
  } else {
    y[at] = a;
  }
}
