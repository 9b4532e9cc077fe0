// Draws previews on the canvas: latents by the WebAssembly program, or, where
// that is missing or cannot run, the small PNGs that the server makes instead.

const { wasm, loader } = document.body.dataset;
let decode; // the program's function, once it runs

/** Resolves to whether latents can be drawn here. */
export const started = start();

/** What to ask the server for: a latent needs the program and the model's colours. */
export const wanted = (colours) => (decode && colours ? 'latent' : 'png');

async function start() {
  const off = new URLSearchParams(location.search).get('wasm') === 'off';
  if (off || !wasm || !loader || typeof WebAssembly !== 'object') return false;
  try {
    await import(loader);
    const go = new globalThis.Go();
    const { instance } = await WebAssembly.instantiateStreaming(fetch(wasm), go.importObject);
    go.run(instance);
    decode = globalThis.waggleDraw;
  } catch (error) {
    console.warn('Previews come as PNG: the WebAssembly program did not start.', error);
  }
  return Boolean(decode);
}

/** The model's linear map as the program takes it: rows of factors, then the bias. */
export function coloursOf(model) {
  const map = model?.preview;
  return map?.factors?.length ? [...map.factors.flat(), ...(map.bias ?? [0, 0, 0])] : undefined;
}

/** Draws a preview message; resolves to whether something was drawn. */
export async function draw(canvas, preview, colours) {
  if (preview.kind === 'latent') {
    if (!decode || !colours) return false;
    const problem = decode(canvas, preview.bytes, colours);
    if (problem) console.warn(problem);
    return !problem;
  }
  return drawPNG(canvas, preview.payload);
}

async function drawPNG(canvas, bytes) {
  try {
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    bitmap.close();
    return true;
  } catch {
    return false; // a picture that does not decode is no reason to stop
  }
}

/** The preview that a text event carries in base64, if it has one. */
export function previewOf(event) {
  if (!event.image) return undefined;
  const payload = Uint8Array.from(atob(event.image), (c) => c.charCodeAt(0));
  return { kind: 'png', payload };
}
