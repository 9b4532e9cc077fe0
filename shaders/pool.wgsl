// pool: halves pictures by the mean of every two by two places; of those that are there at an odd edge.
//
//   x [N,H,W,C] f32    y [N,⌈H/2⌉,⌈W/2⌉,C] f32, from a row of places on
//
// Dispatch (⌈C/(4·16)⌉, ⌈rows/8⌉, 1).
struct Params {
  rows: u32,   // of y, places
  texels: u32, // ⌈C/4⌉
  first: u32,  // row of y that is the first here
  height: u32, // of x
  width: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(16, 8)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
  // Invocations past the end repeat the last place: a branch would make the store slow on software adapters.
  let id = min(global.xy, vec2<u32>(p.texels, p.rows) - 1u);
  let place = id.y + p.first;
  let half = vec2<u32>((p.width + 1u) / 2u, (p.height + 1u) / 2u);
  let left = 2u * (place % half.x);
  let top = 2u * (place / half.x % half.y);
  let picture = place / (half.x * half.y);
  let right = min(left + 1u, p.width - 1u);
  let bottom = min(top + 1u, p.height - 1u);
  // At an odd edge a place counts twice, which is the mean of those that are there.
  let upper = (picture * p.height + top) * p.width;
  let lower = (picture * p.height + bottom) * p.width;
  let sum = (x[(upper + left) * p.texels + id.x] + x[(upper + right) * p.texels + id.x]) +
    (x[(lower + left) * p.texels + id.x] + x[(lower + right) * p.texels + id.x]);
  y[id.y * p.texels + id.x] = 0.25 * sum;
}
