"""Makes the pictures in this folder with Pillow 13.0.0, another program than ours: python make.py FOLDER

All but the 8x8 ones show the same 40x24 gradient: red 6x, green 10y, blue 3(x+y).
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

OUT = Path(sys.argv[1])
Y, X = np.mgrid[0:24, 0:40]
IMAGE = Image.fromarray(np.stack([X * 6, Y * 10, (X + Y) * 3], -1).astype(np.uint8))

# How a file must be stored so that it shows the gradient when turned as its EXIF orientation says.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # Pillow turns to the left
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

TEXTS = {
    "latin1": 'a café, "big" \\ sign\nsecond line\nNegative prompt: blurry, bad\nalso: this\n'
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 4294967295, Size: 512x768, "
    'Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Lora hashes: "a: 0123, b: 4567", Clip skip: 2, Version: v1.10.1',
    "utf8": "星 on 黒\nSteps: 4, Sampler: Euler a, CFG scale: 1.0, Seed: 7, Size: 8x8",
    "ztxt": "x" * 2000 + "\nSteps: 1, Sampler: Euler, CFG scale: 1, Seed: 7",
    "utf8z": "星" * 500 + "\nSteps: 1, Sampler: Euler, CFG scale: 1, Seed: 7",
}


def save(name, image=IMAGE, **options):
    image.save(OUT / name, **options)


for name, text in TEXTS.items():
    info = PngInfo()
    info.add_text("parameters", text, zip=name in ("ztxt", "utf8z"))
    save(name + ".png", IMAGE.resize((8, 8)), pnginfo=info)
for orientation, how in STORED.items():
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = IMAGE if how is None else IMAGE.transpose(how)
    save(f"orientation{orientation}.jpg", stored, quality=95, subsampling=0, exif=exif)
transparent = IMAGE.convert("RGBA")
transparent.putalpha(Image.fromarray((X * 6).astype(np.uint8)))
save("rgb.png")
save("rgba.png", transparent)
save("grey.png", IMAGE.convert("L"))
save("grey16.png", Image.fromarray((X * 6).astype(np.uint16) * 257))
save("palette.png", IMAGE.convert("P"))
save("baseline.jpg", quality=95, subsampling=0)
save("progressive.jpg", quality=95, subsampling=0, progressive=True)
save("cmyk.jpg", IMAGE.convert("CMYK"), quality=95)
save("lossy.webp", quality=95)
save("lossless.webp", lossless=True)
save("alpha.webp", transparent, lossless=True)
save("picture.gif")
