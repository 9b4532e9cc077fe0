// concat: puts the channels of b after those of a. Both have a multiple of 4 channels.
//
//   a [rows,A] f32    b [rows,B] f32    y [rows,A+B] f32
//
// Dispatch (⌈(A+B)/(4·16)⌉, ⌈rows/8⌉, 1).
struct Params {
  rows: u32,
  first: u32,  // A/4
  second: u32, // B/4
}

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(16, 8)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
  let texels = p.first + p.second;
  // Invocations past the end repeat the last place: a branch would make the store slow on software adapters.
  let id = min(global.xy, vec2<u32>(texels, p.rows) - 1u);
  let fromA = a[id.y * p.first + min(id.x, p.first - 1u)];
  let fromB = b[id.y * p.second + max(id.x, p.first) - p.first];
  y[id.y * texels + id.x] = select(fromB, fromA, id.x < p.first);
}
