"""Weights by formula, so that a model of any depth needs no file: Go computes the same (internal/goldens/formula.go).

The i-th number of a tensor is an integer k of -1024…1023 out of SplitMix64 (Steele et al. 2014), whose state begins with the
FNV-1a hash of the tensor's name, and a power of two. Every result is a float16 without rounding:

  matrices, convolutions   k·2^-10 · 2^-(bits(inputs)/2 - 1), inputs = product of all axes but the first; variance about 1/inputs
  weights of norms         1 + (k>>3)·2^-10
  biases                   k·2^-13
"""
import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fnv(name):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = (h ^ b) * 0x100000001B3 & (1 << 64) - 1
    return np.uint64(h)


def integers(name, n):
    """n integers of -1024…1023."""
    with np.errstate(over="ignore"):
        z = fnv(name) + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(53)).astype(np.int64) - 1024


def values(name, shape):
    """The tensor of that name, float64 numbers that float16 holds exactly."""
    k = integers(name, int(np.prod(shape)))
    if len(shape) > 1:
        inputs = int(np.prod(shape[1:]))
        v = k * 2.0 ** (-10 - (inputs.bit_length() // 2 - 1))
    elif name.endswith("weight"):
        v = 1 + (k >> 3) * 2.0**-10
    else:
        v = k * 2.0**-13
    v = v.reshape(shape)
    assert (v.astype(np.float16) == v).all(), name
    return v


def plain(name, shape, width=1.0):
    """Inputs that are like noise: uniform with a variance of width²."""
    return (integers(name, int(np.prod(shape))) * (np.sqrt(3) / 1024 * width)).reshape(shape).astype(np.float32)
