// add: y = a + b elementwise, or with a row of b for each run of rows of a (a vector added to every place of a picture).
//
//   a [rows,C] f32    b [_,C] f32    y [rows,C] f32
//
// Row r of a meets row (r + firstRow) / each of b. Dispatch (⌈C/(4·16)⌉, ⌈rows/8⌉, 1).
struct Params {
  rows: u32,
  texels: u32, // ⌈C/4⌉
  firstRow: u32,
  each: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Params;

fn divide(n: u32, d: u32) -> u32 { return u32((f32(n) + 0.5) / f32(d)); }

@compute @workgroup_size(16, 8)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
  // Invocations past the end repeat the last place: a branch would make the store slow on software adapters.
  let id = min(global.xy, vec2<u32>(p.texels, p.rows) - 1u);
  let at = id.y * p.texels + id.x;
  let row = divide(id.y + p.firstRow, p.each);
  y[at] = a[at] + b[row * p.texels + id.x];
}
