"""Says whether a picture shows a scene, from its pixels alone."""

from functools import cache

import numpy as np
from PIL import Image

from scenes import CENTER, COLORS, PALETTE, RADIUS, SHAPES, SIDE, coverage

FRAME = 4  # pixels at the rim that are taken for background
TEMPLATE = 32  # side of the normalised shapes
_PALETTE = np.array([PALETTE[c] for c in COLORS], np.float32)


def check(image, scene):
    """uint8 [SIDE, SIDE, 3], scene -> dict of bools: bg, color, shape, place (for a pair: the relation)."""
    colors = ((image.astype(np.float32)[:, :, None] - _PALETTE) ** 2).sum(-1).argmin(-1)
    bg = _background(colors)
    verdict = {"bg": COLORS[bg] == scene["bg"]}
    if scene["kind"] == "plain":
        return verdict | {"color": bool((colors != bg).mean() < 0.02), "shape": True, "place": True}
    if scene["kind"] == "single":
        return verdict | _check_single(colors, bg, scene)
    return verdict | _check_pair(colors, bg, scene)


def _background(colors):
    rim = [colors[:FRAME], colors[-FRAME:], colors[:, :FRAME], colors[:, -FRAME:]]
    return np.bincount(np.concatenate([r.ravel() for r in rim]), minlength=len(COLORS)).argmax()


def _check_single(colors, bg, scene):
    want = scene["objs"][0]
    cx, cy = CENTER[scene["pos"]]
    color, shape, part = _check_object(colors, colors != bg, want, coverage(want["shape"], cx, cy, RADIUS[scene["size"]]))
    ys, xs = np.nonzero(part)
    y, x = ((ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2) if len(ys) else (0, 0)
    return {"color": color, "shape": shape, "place": bool(abs(x - cx) < 12 and abs(y - cy) < 12)}


def _check_pair(colors, bg, scene):
    found = []
    for i, want in enumerate(scene["objs"]):
        half = np.zeros_like(colors, bool)
        span = slice(i * SIDE // 2, (i + 1) * SIDE // 2)
        half[(slice(None), span) if scene["rel"] == "left" else span] = True
        area = coverage(want["shape"], SIDE // 2, SIDE // 2, RADIUS["pair"])
        found.append(_check_object(colors, (colors != bg) & half, want, area))
    return {
        "color": all(f[0] for f in found),
        "shape": all(f[1] for f in found),
        "place": bool(all(f[2].sum() > 150 for f in found)),
    }


def _check_object(colors, region, want, expected):
    """The commonest colour of the region, its largest connected part -> colour and size right, shape right, part."""
    counts = np.bincount(colors[region], minlength=len(COLORS))
    color = int(counts.argmax())
    part = _largest((colors == color) & region)
    share = part.sum() / expected.sum()
    shape, overlap = _classify(part)
    return (
        bool(COLORS[color] == want["color"] and 0.5 < share < 1.8),
        bool(shape == want["shape"] and overlap > 0.6),
        part,
    )


def _largest(mask):
    """The largest 8-connected part of a mask: every pixel takes its neighbours' highest label until none changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    h, w = mask.shape
    while True:
        padded = np.pad(labels, 1)
        around = [padded[dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
        grown = np.where(mask, np.max(around, axis=0), 0)
        if (grown == labels).all():
            break
        labels = grown
    if not labels.any():
        return mask
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    return labels == values[counts.argmax()]


def _classify(mask):
    """The shape whose template overlaps the mask best, and the overlap (intersection over union)."""
    found = _normalise(mask)
    if found is None:
        return None, 0.0
    overlaps = {s: float(np.minimum(found, t).sum() / np.maximum(found, t).sum()) for s, t in _templates().items()}
    best = max(overlaps, key=overlaps.get)
    return best, overlaps[best]


def _normalise(mask, n=TEMPLATE):
    """The mask's bounding square stretched to n by n, bilinear: float32 [n, n]; None when there is next to nothing."""
    ys, xs = np.nonzero(mask)
    if len(ys) < 20:
        return None
    y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    side = max(y1 - y0, x1 - x0)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    image = Image.fromarray((mask * 255).astype(np.uint8))
    image = image.transform((n, n), Image.Transform.AFFINE, (side / n, 0, left, 0, side / n, top), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / 255.0


@cache
def _templates():
    return {s: _normalise(coverage(s, SIDE // 2, SIDE // 2, 40) > 0.5) for s in SHAPES}
