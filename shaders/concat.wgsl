// concat: puts the channels of b after those of a. Both have a multiple of 4 channels.
//
//   a [rows,A] f32    b [rows,B] f32    y [rows,A+B] f32
//
// Dispatch (⌈(A+B)/(4·16)⌉, ⌈rows/16⌉, 1).
struct Params {
  rows: u32,
  first: u32,  // A/4
  second: u32, // B/4
}

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let texels = p.first + p.second;
  if (id.x >= texels || id.y >= p.rows) { return; }
  if (id.x < p.first) {
    y[id.y * texels + id.x] = a[id.y * p.first + id.x];
  } else {
    y[id.y * texels + id.x] = b[id.y * p.second + id.x - p.first];
  }
}
