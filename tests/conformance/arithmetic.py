"""Numbers, from docs/numerics.md alone: exact fractions, each operation rounded once, to nearest, ties to even."""

import struct
from fractions import Fraction
from math import sqrt

# Format: (bits, exponent bits, fraction bits) of floats; bits of integers.
FLOATS = {"f16": (16, 5, 10), "bf16": (16, 8, 7), "f32": (32, 8, 23)}
INTEGERS = {"i8": 8, "i16": 16, "i32": 32}
NAN = {"f16": 0x7E00, "bf16": 0x7FC0, "f32": 0x7FC00000}


def width(name):
    return (INTEGERS.get(name) or FLOATS[name][0]) // 8


def signed(bits, size):
    bits &= (1 << size) - 1
    return bits - (1 << size) if bits >> (size - 1) else bits


def clamp(value, size):
    top = 1 << (size - 1)
    return max(-top, min(top - 1, value))


def decode(name, bits):
    """('nan',), ('inf', sign) or ('num', sign, fraction)."""
    size, ebits, fbits = FLOATS[name]
    bits &= (1 << size) - 1
    sign, exponent, fraction = bits >> (size - 1), (bits >> fbits) & ((1 << ebits) - 1), bits & ((1 << fbits) - 1)
    bias = (1 << (ebits - 1)) - 1
    if exponent == (1 << ebits) - 1:
        return ("nan",) if fraction else ("inf", sign)
    if exponent == 0:
        magnitude = Fraction(fraction, 1 << fbits) * Fraction(2) ** (1 - bias)
    else:
        magnitude = (1 + Fraction(fraction, 1 << fbits)) * Fraction(2) ** (exponent - bias)
    return ("num", sign, -magnitude if sign else magnitude)


def nearest_integer(value):
    floor = value.numerator // value.denominator
    rest = value - floor
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2):
        floor += 1
    return floor


def encode(name, value, sign=0):
    """A fraction rounded to a float; `sign` is that of a zero."""
    size, ebits, fbits = FLOATS[name]
    bias = (1 << (ebits - 1)) - 1
    sign = int(value < 0) if value else sign
    magnitude = abs(value)
    exponent = 1 - bias
    if magnitude:
        # The greatest power of two not above the magnitude.
        power = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
        if Fraction(2) ** power > magnitude:
            power -= 1
        exponent = max(exponent, power)
    units = nearest_integer(magnitude / Fraction(2) ** (exponent - fbits))
    # A carry out of the fraction raises the exponent by itself.
    bits = units if exponent == 1 - bias else units + ((exponent + bias - 1) << fbits)
    bits = min(bits, ((1 << ebits) - 1) << fbits)
    return bits | sign << (size - 1)


def infinity(name, sign):
    size, ebits, fbits = FLOATS[name]
    return ((1 << ebits) - 1) << fbits | sign << (size - 1)


def add(a, b):
    x, y = decode("f32", a), decode("f32", b)
    if "nan" in (x[0], y[0]):
        return NAN["f32"]
    if x[0] == "inf" or y[0] == "inf":
        signs = {v[1] for v in (x, y) if v[0] == "inf"}
        return NAN["f32"] if len(signs) == 2 else infinity("f32", signs.pop())
    return encode("f32", x[2] + y[2], x[1] & y[1])


def neg(a):
    return NAN["f32"] if decode("f32", a)[0] == "nan" else (a ^ 0x80000000)


def mul(a, b):
    x, y = decode("f32", a), decode("f32", b)
    if "nan" in (x[0], y[0]):
        return NAN["f32"]
    sign = x[1] ^ y[1]
    if "inf" in (x[0], y[0]):
        other = y if x[0] == "inf" else x
        return NAN["f32"] if other[0] == "num" and other[2] == 0 else infinity("f32", sign)
    return encode("f32", x[2] * y[2], sign)


def order(a):
    """A key by which numbers that are no NaN are ordered, -0 below +0."""
    x = decode("f32", a)
    if x[0] == "inf":
        return (-1, 0, 0) if x[1] else (1, 0, 0)
    return (0, x[2], -x[1])


def extreme(a, b, pick):
    if "nan" in (decode("f32", a)[0], decode("f32", b)[0]):
        return NAN["f32"]
    return pick(a, b, key=order)


def compare(a, b, relation):
    if "nan" in (decode("f32", a)[0], decode("f32", b)[0]):
        return 0
    plain = lambda v: order(v)[:2]
    return int(relation(plain(a), plain(b)))


def double(a):
    """The binary64 value of binary32 bits."""
    return struct.unpack("<f", struct.pack("<I", a))[0]


def single(value):
    """A binary64 value rounded to binary32 bits."""
    if value != value:
        return NAN["f32"]
    if value in (float("inf"), float("-inf")):
        return infinity("f32", int(value < 0))
    return encode("f32", Fraction(value), int(struct.pack(">d", value)[0] >> 7))


def pattern(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def exponential(x):
    shift = 6755399441055744.0
    t = x * pattern(0x3FF71547652B82FE) + shift
    k = t - shift
    r = (x - k * pattern(0x3FE62E42FEF00000)) - k * pattern(0x3DD473DE6AF278ED)
    p = 1.0 / 39916800.0
    for c in [1.0 / n for n in (3628800, 362880, 40320, 5040, 720, 120, 24, 6)] + [0.5, 1.0, 1.0]:
        p = p * r + c
    return p * 2.0 ** int(k)


def exp(a):
    x = double(a)
    return NAN["f32"] if x != x else single(exponential(min(max(x, -200.0), 200.0)))


def tanh(a):
    x = double(a)
    if x != x:
        return NAN["f32"]
    if abs(x) < 0.0078125:
        s = x * x
        return single(x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0)))))
    d = exponential(max(-2.0 * abs(x), -200.0))
    y = (1.0 - d) / (1.0 + d)
    return single(-y if x < 0 else y)


def rsqrt(a):
    x = decode("f32", a)
    if x[0] == "nan" or (x[1] and not (x[0] == "num" and x[2] == 0)):
        return NAN["f32"]
    if x[0] == "inf":
        return 0
    if x[2] == 0:
        return infinity("f32", x[1])
    return single(1.0 / sqrt(double(a)))


def reciprocal(a):
    x = decode("f32", a)
    if x[0] == "nan":
        return NAN["f32"]
    if x[0] == "inf":
        return x[1] << 31
    if x[2] == 0:
        return infinity("f32", x[1])
    return encode("f32", 1 / x[2])


def convert(source, target, bits):
    if source in INTEGERS:
        value = ("num", 0, Fraction(signed(bits, INTEGERS[source])))
    else:
        value = decode(source, bits)
    if target in INTEGERS:
        size = INTEGERS[target]
        if value[0] == "nan":
            return 0
        whole = (-1 if value[1] else 1) << 64 if value[0] == "inf" else nearest_integer(value[2])
        return clamp(whole, size) & ((1 << size) - 1)
    if value[0] == "nan":
        return NAN[target]
    return infinity(target, value[1]) if value[0] == "inf" else encode(target, value[2], value[1])


def dot_i8(weights, activations):
    return sum(signed(w, 8) * signed(x, 8) for w, x in zip(weights, activations)) & 0xFFFFFFFF


def dot_f16(weights, activations):
    total, signs = Fraction(0), set()
    for w, x in ((decode("f16", w), decode("f16", x)) for w, x in zip(weights, activations)):
        if "nan" in (w[0], x[0]):
            return NAN["f32"]
        if "inf" in (w[0], x[0]):
            other = x if w[0] == "inf" else w
            if other[0] == "num" and other[2] == 0:
                return NAN["f32"]
            signs.add(w[1] ^ x[1])
        else:
            total += w[2] * x[2]
    if signs:
        return NAN["f32"] if len(signs) == 2 else infinity("f32", signs.pop())
    return encode("f32", total)
