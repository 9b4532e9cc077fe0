"""The world the model learns: scenes of coloured shapes, the pictures that show them, the captions that name them.

A scene is a dict: kind (single, pair or plain), bg (a colour), objs (a list of dicts shape, color, cx, cy, r in
pixels), for a single object size and pos, for a pair rel. Everything random comes from the rng that is passed in.
"""

import hashlib
import math

import numpy as np
from PIL import Image, ImageDraw

SIDE = 128  # pixels of a picture's side
SUPER = 4  # shapes are drawn this much larger and box-reduced: anti-aliasing

PALETTE = {
    "red": (218, 36, 40),
    "orange": (247, 138, 24),
    "yellow": (250, 220, 50),
    "green": (40, 165, 70),
    "cyan": (60, 210, 225),
    "blue": (38, 80, 215),
    "purple": (128, 48, 180),
    "pink": (252, 140, 195),
    "white": (244, 244, 244),
    "black": (22, 22, 26),
}
COLORS = list(PALETTE)
SHAPES = ["circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond"]

# A word that stands twice is twice as likely.
SHAPE_WORDS = {shape: [shape] for shape in SHAPES} | {
    "circle": ["circle"] * 3 + ["disc"],
    "square": ["square"] * 3 + ["box"],
    "ring": ["ring"] * 3 + ["donut"],
    "cross": ["cross"] * 2 + ["plus"],
    "diamond": ["diamond"] * 3 + ["rhombus"],
}
COLOR_WORDS = {color: [color] for color in COLORS} | {
    "purple": ["purple"] * 2 + ["violet"],
    "cyan": ["cyan"] * 2 + ["turquoise"],
}
SIZE_WORDS = {
    "small": ["small"] * 2 + ["tiny", "little"],
    "medium": [""],
    "large": ["large"] * 2 + ["big", "huge"],
}

RADIUS = {"small": 19.0, "medium": 32.0, "large": 48.0, "pair": 24.0}
CENTER = {"center": (64, 64), "left": (36, 64), "right": (92, 64), "top": (64, 36), "bottom": (64, 92)}
PAIR_CENTERS = {"left": ((35, 64), (93, 64)), "above": ((64, 35), (64, 93))}


def held_out(shape, color, bg):
    """Whether this combination is kept out of training: about one in ten, the same ones everywhere."""
    return hashlib.md5(f"{shape}|{color}|{bg}".encode()).digest()[0] % 10 == 0


# ---------------------------------------------------------------------------------------------------- pictures


def _star():
    turns = [(1.12 if i % 2 == 0 else 0.47, -math.pi / 2 + i * math.pi / 5) for i in range(10)]
    return [(r * math.cos(a), r * math.sin(a) + 0.06) for r, a in turns]


def _heart():
    points = []
    for i in range(64):
        t = 2 * math.pi * i / 64
        y = -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
        points.append((math.sin(t) ** 3, (y - 2.0) / 15.5))
    return points


def _cross(arm=1.0, half=0.36):
    right = [(half, -arm), (half, -half), (arm, -half), (arm, half), (half, half), (half, arm)]
    return right + [(-x, -y) for x, y in right]


# Polygons around (0, 0) for a radius of 1, y downwards; circle and ring are drawn as ellipses.
OUTLINES = {
    "square": [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)],
    "diamond": [(0, -1.12), (0.86, 0), (0, 1.12), (-0.86, 0)],
    "triangle": [(0, -1.0), (1.04, 0.86), (-1.04, 0.86)],
    "star": _star(),
    "heart": _heart(),
    "cross": _cross(),
}
RING_HOLE = 0.56  # of the outer radius


def coverage(shape, cx, cy, r):
    """How much of every pixel the shape covers: float32 [SIDE, SIDE], 0 to 1."""
    image = Image.new("L", (SIDE * SUPER, SIDE * SUPER), 0)
    draw = ImageDraw.Draw(image)

    def disc(radius, fill):
        draw.ellipse([v * SUPER for v in (cx - radius, cy - radius, cx + radius, cy + radius)], fill=fill)

    if shape in OUTLINES:
        draw.polygon([((cx + x * r) * SUPER, (cy + y * r) * SUPER) for x, y in OUTLINES[shape]], fill=255)
    else:
        disc(r, 255)
        if shape == "ring":
            disc(r * RING_HOLE, 0)
    return np.asarray(image.reduce(SUPER), np.float32) / 255.0


_axis = np.arange(SIDE, dtype=np.float32) / (SIDE - 1) - 0.5
_Y, _X = _axis[:, None, None], _axis[None, :, None]


def render(scene):
    """The scene as uint8 [SIDE, SIDE, 3]: soft light from above on the background, from the upper left on objects."""
    color = np.asarray(PALETTE[scene["bg"]], np.float32)
    image = np.broadcast_to(color * (1.0 - 0.12 * _Y) - 10.0 * _Y, (SIDE, SIDE, 3)).copy()
    for o in scene["objs"]:
        cover = coverage(o["shape"], o["cx"], o["cy"], o["r"])[..., None]
        dy, dx = _Y - (o["cy"] / SIDE - 0.5), _X - (o["cx"] / SIDE - 0.5)
        shade = np.clip((dy + dx * 0.5) / (o["r"] / SIDE), -1.5, 1.5)
        lit = np.asarray(PALETTE[o["color"]], np.float32) * (1.0 - 0.06 * shade) - 5.0 * shade
        image = image * (1 - cover) + lit * cover
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- scenes


def random_scene(rng, holdout=False, kind=None):
    """A scene of the training distribution, or (holdout) one that training never shows."""
    while True:
        scene = _any_scene(rng, kind)
        if any(o["color"] == scene["bg"] for o in scene["objs"]):
            continue
        if any(held_out(o["shape"], o["color"], scene["bg"]) for o in scene["objs"]) == holdout:
            return scene


def _any_scene(rng, kind):
    kind = kind or rng.choices(["single", "pair", "plain"], [0.6, 0.385, 0.015])[0]
    scene = {"kind": kind, "bg": rng.choice(COLORS), "objs": []}
    if kind == "single":
        size = rng.choices(["medium", "small", "large"], [0.5, 0.25, 0.25])[0]
        pos = "center" if size == "large" else rng.choices(list(CENTER), [0.4, 0.15, 0.15, 0.15, 0.15])[0]
        scene.update(size=size, pos=pos, objs=[_any_object(rng, CENTER[pos], RADIUS[size])])
    elif kind == "pair":
        rel = rng.choice(["left", "above"])
        scene.update(rel=rel, objs=[_any_object(rng, c, RADIUS["pair"]) for c in PAIR_CENTERS[rel]])
    return scene


def _any_object(rng, center, radius):
    return {
        "shape": rng.choice(SHAPES),
        "color": rng.choice(COLORS),
        "cx": center[0] + rng.uniform(-2, 2),
        "cy": center[1] + rng.uniform(-2, 2),
        "r": radius * rng.uniform(0.95, 1.05),
    }


# ---------------------------------------------------------------------------------------------------- captions


def caption(rng, scene):
    """One of the many ways to say what the scene shows."""
    color = rng.choice(COLOR_WORDS[scene["bg"]])
    start = rng.choices(
        ["", "a picture of ", "an image of ", "a drawing of ", "there is "], [0.74, 0.08, 0.06, 0.06, 0.06]
    )[0]
    if scene["kind"] == "plain":
        plain = [f"{_a(color)} background", f"a plain {color} background", f"plain {color}", f"an empty {color} picture"]
        return start + rng.choice(plain)
    ground = _ground(rng, color)
    if scene["kind"] == "single":
        text = _single(rng, scene, start, color, ground)
    else:
        text = start + _join(_relation(rng, scene), ground)
    return text + ("." if rng.random() < 0.1 else "")


def _ground(rng, color):
    phrases = [
        f"on {_a(color)} background",
        f"on {color}",
        f"against {_a(color)} background",
        f"in front of {_a(color)} background",
        f"over {color}",
        "",
    ]
    return rng.choices(phrases, [0.5, 0.18, 0.08, 0.08, 0.04, 0.12])[0]


def _single(rng, scene, start, color, ground):
    noun = _noun(rng, scene["objs"][0], scene["size"])
    place = _place(rng, scene["pos"])
    if rng.random() < 0.06:
        return f"{color} background with {_join(_a(noun), place)}"
    if start or rng.random() < 0.8:
        noun = _a(noun)
    if rng.random() < 0.3:
        return start + _join(noun, ground, place)
    return start + _join(noun, place, ground)


def _place(rng, pos):
    if pos == "center":
        if rng.random() < 0.75:
            return ""
        return rng.choice(["in the center", "in the middle", "at the center"])
    if pos in ("left", "right"):
        return rng.choice([f"on the {pos}", f"at the {pos}", f"on the {pos} side", f"to the {pos}"])
    return rng.choice([f"at the {pos}", f"near the {pos}", f"in the {pos} part", f"on the {pos}"])


def _relation(rng, scene):
    a, b = (_a(_noun(rng, o)) for o in scene["objs"])
    if scene["rel"] == "left":
        phrases = {
            f"{a} to the left of {b}": 0.32,
            f"{b} to the right of {a}": 0.2,
            f"{a} left of {b}": 0.08,
            f"{b} right of {a}": 0.05,
            f"{a} and {b}": 0.2,
            f"{a} next to {b}": 0.1,
            f"{a} beside {b}": 0.05,
        }
    else:
        phrases = {
            f"{a} above {b}": 0.42,
            f"{b} below {a}": 0.28,
            f"{a} on top of {b}": 0.12,
            f"{b} under {a}": 0.12,
            f"{a} over {b}": 0.06,
        }
    return rng.choices(list(phrases), list(phrases.values()))[0]


def _noun(rng, o, size="medium"):
    color, shape = rng.choice(COLOR_WORDS[o["color"]]), rng.choice(SHAPE_WORDS[o["shape"]])
    return _join(rng.choice(SIZE_WORDS[size]), color, shape)


def _a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _join(*parts):
    return " ".join(part for part in parts if part)
