// columns: copies a run of channels out of wider rows. From and count are multiples of 4.
//
//   x [rows,X] f32    y [rows,C] f32 = x[:, from : from+C]
//
// Dispatch (⌈C/(4·16)⌉, ⌈rows/8⌉, 1).
struct Params {
  rows: u32,
  texels: u32, // ⌈C/4⌉
  stride: u32, // ⌈X/4⌉
  first: u32,  // from/4
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(16, 8)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
  // Invocations past the end repeat the last place: a branch would make the store slow on software adapters.
  let id = min(global.xy, vec2<u32>(p.texels, p.rows) - 1u);
  y[id.y * p.texels + id.x] = x[id.y * p.stride + p.first + id.x];
}
