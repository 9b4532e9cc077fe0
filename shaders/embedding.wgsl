// embedding: row ids[t] of the token table plus row t of the position table; of a negative id only the latter.
//
//   ids [N,T] f32 (whole numbers, 4 floats a row)    tokens, places [_,C] f16, two in a u32    y [N,T,C] f32
//
// C is a multiple of 4. Dispatch (⌈C/(4·16)⌉, ⌈N·T/8⌉, 1).
struct Params {
  rows: u32,   // N·T
  texels: u32, // C/4
  length: u32, // T
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> tokens: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> p: Params;

fn unpack(q: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(q.x), unpack2x16float(q.y)); }

@compute @workgroup_size(16, 8)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
  // Invocations past the end repeat the last place: a branch would make the store slow on software adapters.
  let id = min(global.xy, vec2<u32>(p.texels, p.rows) - 1u);
  let token = min(u32(max(ids[id.y].x, 0.0)), p.vocabulary - 1u);
  let row = select(unpack(tokens[token * p.texels + id.x]), vec4<f32>(), ids[id.y].x < 0.0);
  let place = id.y % p.length;
  y[id.y * p.texels + id.x] = row + unpack(places[place * p.texels + id.x]);
}
