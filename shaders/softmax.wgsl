// softmax: y = exp(x − max)/sum over the first C channels of each row; channels beyond are set to zero.
//
//   x [rows,C] f32    y [rows,C] f32, into a buffer or an image
//
// One invocation makes one row. Dispatch (⌈rows/LANES⌉, 1, 1). C up to 80,000.
const TO_IMAGE: bool = false;
const LANES: u32 = 16u;

struct Params {
  rows: u32,
  texels: u32,   // ⌈C/4⌉
  channels: u32, // C
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var image: texture_storage_2d<rgba32float, write>;
@group(0) @binding(3) var<uniform> p: Params;

fn masked(a: vec4<f32>, i: u32) -> vec4<f32> {
  return select(vec4<f32>(-1e30), a, vec4<u32>(0u, 1u, 2u, 3u) + 4u * i < vec4<u32>(p.channels));
}

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = min(id.x, p.rows - 1u) * p.texels; // invocations past the end repeat the last row
  var high = vec4<f32>(-1e30);
  for (var i = 0u; i < p.texels; i++) { high = max(high, masked(x[row + i], i)); }
  let top = max(max(high.x, high.y), max(high.z, high.w));
  var sums = vec4<f32>(0.0);
  for (var i = 0u; i < p.texels; i++) { sums += exp(masked(x[row + i], i) - top); }
  let scale = 1.0 / (sums.x + sums.y + sums.z + sums.w);
  for (var i = 0u; i < p.texels; i++) {
    let at = row + i;
    let a = exp(masked(x[at], i) - top) * scale;
    if (TO_IMAGE) {
      textureStore(image, vec2<u32>(at % 2048u, at / 2048u), a);
    } else {
      y[at] = a;
    }
  }
}
