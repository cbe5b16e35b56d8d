"""Random draws that are the same bits on every machine: a counter-based generator and two distributions.

A draw is a pure function of (key, counter), so nothing depends on how a stream is cut into chunks. Integers are mixed modulo
2**64; floats see only + - * / and sqrt, which IEEE 754 rounds in one way, and LLVM fuses no multiply with an add unless it
is told to. `log` and `exp` of a C library differ in the last bit between machines, so none is called.
"""

import math

import numpy as np

from shm.jit import JIT_ENABLED, njit

# With the JIT off a numpy scalar warns when it wraps, and a Python int never wraps: the mask does it. Compiled, the mask
# costs nothing.
WORD = np.uint64 if JIT_ENABLED else int
MASK = WORD(0xFFFF_FFFF_FFFF_FFFF)

# SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; finaliser "Mix13" of
# D. Stafford.
GAMMA = WORD(0x9E37_79B9_7F4A_7C15)
MULTIPLIER_1 = WORD(0xBF58_476D_1CE4_E5B9)
MULTIPLIER_2 = WORD(0x94D0_49BB_1331_11EB)
SHIFT_1, SHIFT_2, SHIFT_3 = WORD(30), WORD(27), WORD(31)

UNIT_SHIFT = WORD(12)
UNIT_COUNT = 1 << 52  # steps of a uniform draw: the word's 52 high bits

LN_2 = 0.6931471805599453
SQRT_2 = 1.4142135623730951

# Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988), PPND7:
# relative error about 1e-7. Near the middle, then the tails up to about 5.7 deviations, then beyond them.
CENTRE, CENTRE_SQUARED, TAIL_SPLIT, TAIL_OFFSET = 0.425, 0.180625, 5.0, 1.6
A0, A1, A2, A3 = 3.3871327179, 50.434271938, 159.29113202, 59.109374720
B1, B2, B3 = 17.895169469, 78.757757664, 67.187563600
C0, C1, C2, C3 = 1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103
D1, D2 = 0.73700164250, 0.12021132975
E0, E1, E2, E3 = 6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997
F1, F2 = 0.24197894225, 0.012258202635


@njit
def draw_word(key, counter):
    """Draw the 64 bits that belong to a counter.

    Args:
        key: int64 of the stream, not negative.
        counter: int64, not negative.
    Returns:
        The word: uint64 compiled, a Python int in 0..2**64-1 with the JIT off.
    """
    word = (WORD(key) + WORD(counter) * GAMMA) & MASK
    word = ((word ^ (word >> SHIFT_1)) * MULTIPLIER_1) & MASK
    word = ((word ^ (word >> SHIFT_2)) * MULTIPLIER_2) & MASK
    return word ^ (word >> SHIFT_3)


@njit
def derive_key(seed):
    """Turn a seed (int64, not negative) into a key: seeds that are neighbours get streams that share nothing."""
    return np.int64(draw_word(seed, 1) >> WORD(1))


@njit
def unit(word):
    """Map a word to the open interval (0, 1): the middles of 2**52 equal steps, so neither end is ever met."""
    return (float(word >> UNIT_SHIFT) + 0.5) / UNIT_COUNT


@njit
def natural_log(value):
    """Take the natural logarithm of a value in (0, 1], to about 1e-13 absolute, in exactly rounded operations.

    Source: ln(m * 2**-n) = 2 artanh((m - 1) / (m + 1)) - n ln 2, with m in (1/sqrt 2, sqrt 2] and the series cut at s**15.
    """
    halvings = 0
    mantissa = value
    while mantissa * SQRT_2 <= 1.0:  # exact: doubling touches no bit of the mantissa
        mantissa *= 2.0
        halvings += 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    q = s * s
    series = 1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0 + q * (1.0 / 15.0)))
    series = 1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * series)))
    return 2.0 * s * series - halvings * LN_2


@njit
def exponential(word):
    """Draw from the exponential distribution of mean 1."""
    return -natural_log(unit(word))


@njit
def normal(word):
    """Draw from the standard normal distribution, by its inverse (AS 241, PPND7)."""
    probability = unit(word)
    q = probability - 0.5
    if abs(q) <= CENTRE:
        r = CENTRE_SQUARED - q * q
        return q * (((A3 * r + A2) * r + A1) * r + A0) / (((B3 * r + B2) * r + B1) * r + 1.0)
    tail = probability if q < 0.0 else 1.0 - probability
    r = math.sqrt(-natural_log(tail))
    if r <= TAIL_SPLIT:
        r -= TAIL_OFFSET
        deviations = (((C3 * r + C2) * r + C1) * r + C0) / ((D2 * r + D1) * r + 1.0)
    else:
        r -= TAIL_SPLIT
        deviations = (((E3 * r + E2) * r + E1) * r + E0) / ((F2 * r + F1) * r + 1.0)
    return -deviations if q < 0.0 else deviations
