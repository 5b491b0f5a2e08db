"""Wires: every one of them averages, survives damage, and says what it refuses."""

import math
from dataclasses import replace
from struct import Struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wirelesslab.rng import stream
from wirelesslab.vision.terngrad import TernGradConfig
from wirelesslab.vision.wires import QSGD, WIRES, Float32, Layout, SignSGD, Ternary, TopK, WireError
from wirelesslab.vision.wires.entropy import MOST_LEVELS, compress, decompress, entropy_bits, frequencies
from wirelesslab.vision.wires.messages import HEADER, SERVER, TENSOR, Mode, pack, parse
from wirelesslab.vision.wires.packing import (
    bits_for,
    pack_bits,
    pack_fifths,
    pack_quarters,
    packed_size,
    unpack_bits,
    unpack_fifths,
    unpack_quarters,
)

LENET = ((5, 5, 1, 20), (20,), (5, 5, 20, 50), (50,), (800, 500), (500,), (500, 10), (10,))
SHAPES = ((40, 7), (3,), (257,), (), (64,))
FAMILY = (
    Float32(),
    Ternary(),
    Ternary(TernGradConfig(code="base3")),
    Ternary(TernGradConfig(code="entropy")),
    Ternary(TernGradConfig(code="entropy", down="entropy")),
    Ternary(TernGradConfig(share_scaler="none")),
    Ternary(TernGradConfig(layerwise=False, clip_c=0)),
    QSGD(),
    QSGD(levels=1, bucket=64),
    SignSGD(),
    TopK(share=0.05),
)
FEEDBACK = (SignSGD(), TopK(share=0.05))
UNBIASED = (Ternary(TernGradConfig(clip_c=0)), Ternary(TernGradConfig(clip_c=0, share_scaler="none")), QSGD())
every_wire = pytest.mark.parametrize("wire", FAMILY, ids=repr)


def gradients(worker: int = 0, step: int = 0, shapes=SHAPES) -> list[np.ndarray]:
    rng = stream(5, "gradients", worker, step)
    return [np.asarray(1e-2 * rng.standard_t(4, shape), np.float32) for shape in shapes]


def states(wire, workers: int, shapes=SHAPES) -> list:
    return [wire.init(gradients(shapes=shapes), 1, worker, workers) for worker in range(workers)]


def one_step(wire, ends, step: int = 0, given=None, order=None):
    """Let all workers take a step; returns every worker's mean gradient and all messages up and down."""
    given = given or [gradients(end.worker, step) for end in ends]
    order = list(order or range(len(ends)))
    down, ups, downs = b"", [], []
    for exchange in range(wire.exchanges):
        messages = [wire.encode(ends[i], given[i], step, exchange, down) for i in order]
        down = wire.aggregate(messages, ends[0].layout)
        ups.append(messages)
        downs.append(down)
    return [wire.decode(end, down, step) for end in ends], ups, downs


def flat(arrays) -> np.ndarray:
    return np.concatenate([np.ravel(a) for a in arrays])


# --- what every wire keeps ----------------------------------------------------------------------------------------


def test_every_wire_is_in_the_family():
    assert {type(wire) for wire in FAMILY} == set(WIRES)
    assert len({wire.code for wire in WIRES}) == len(WIRES)


@every_wire
def test_all_workers_decode_the_same_bits_in_the_shapes_that_were_sent(wire):
    means, _, _ = one_step(wire, states(wire, 3))
    for mean in means:
        assert [m.shape for m in mean] == list(SHAPES)
        assert flat(mean).tobytes() == flat(means[0]).tobytes()
        assert flat(mean).dtype == np.float32


@every_wire
def test_the_order_in_which_workers_compute_and_messages_arrive_changes_nothing(wire):
    first, _, downs = one_step(wire, states(wire, 4))
    second, _, again = one_step(wire, states(wire, 4), order=(2, 0, 3, 1))
    assert downs == again
    assert flat(first[0]).tobytes() == flat(second[0]).tobytes()


@every_wire
def test_the_same_seed_gives_the_same_bytes_and_steps_differ(wire):
    given = [gradients(w) for w in range(2)]
    messages = [one_step(wire, states(wire, 2), step, given)[1] for step in (0, 0, 1)]
    assert messages[0] == messages[1]
    assert messages[0] != messages[2]


@every_wire
def test_small_tensors_travel_exactly(wire):
    ends = states(wire, 3)
    means, _, _ = one_step(wire, ends)
    for place in (1, 3):  # (3,) and ()
        exact = np.mean([gradients(w)[place].astype(float) for w in range(3)], axis=0)
        np.testing.assert_allclose(means[0][place], exact, rtol=1e-6)


@every_wire
def test_a_worker_that_is_left_out_leaves_the_mean_of_the_others(wire):
    ends = states(wire, 3)
    means, _, downs = one_step(wire, ends, order=(0, 2))
    exact = np.mean([gradients(w)[1].astype(float) for w in (0, 2)], axis=0)
    np.testing.assert_allclose(means[1][1], exact, rtol=1e-6)
    assert parse(downs[-1], ends[0].layout).workers == 2


@every_wire
def test_zeros_come_back_as_zeros(wire):
    zeros = [[np.zeros(s, np.float32) for s in SHAPES]] * 2
    means, _, _ = one_step(wire, states(wire, 2), given=zeros)
    assert not flat(means[0]).any()


@every_wire
def test_the_mean_points_the_way_of_the_gradient(wire):
    means, _, _ = one_step(wire, states(wire, 4))
    exact = np.mean([flat(gradients(w)) for w in range(4)], axis=0)
    cosine = exact @ flat(means[0]) / np.linalg.norm(exact) / np.linalg.norm(flat(means[0]))
    assert cosine > 0.2  # 612 entries at random: standard deviation 0.04


def test_float32_is_the_gradient_of_one_large_batch():  # (k)
    wire = Float32()
    means, _, _ = one_step(wire, states(wire, 4))
    exact = np.mean([flat(gradients(w)).astype(float) for w in range(4)], axis=0)
    np.testing.assert_allclose(flat(means[0]), exact, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("wire", UNBIASED, ids=repr)
def test_an_unbiased_wire_has_no_bias(wire):
    ends = states(wire, 2)
    given = [gradients(w) for w in range(2)]
    draws = np.array([flat(one_step(wire, ends, step, given)[0][0]) for step in range(1500)], float)
    exact = np.mean([flat(g).astype(float) for g in given], axis=0)
    spread = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    # an entry kept in a handful of draws has a skewed mean: the pooled statistic is what is tested
    random = spread > 0
    z = (draws.mean(axis=0) - exact)[random] / spread[random]
    assert abs(z.mean()) < 5 / np.sqrt(random.sum())
    assert np.sqrt((z**2).mean()) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("wire", FEEDBACK, ids=repr)
def test_what_was_sent_and_what_is_owed_add_up_to_all_gradients(wire):
    (end,) = states(wire, 1)
    sent, offered = np.zeros(end.layout.num_values), np.zeros(end.layout.num_values)
    for step in range(30):
        given = [gradients(0, step)]
        sent += flat(one_step(wire, [end], step, given)[0][0])
        offered += flat(given[0])
    np.testing.assert_allclose(sent + flat(end.memory), offered, atol=1e-5)
    assert flat(end.memory).any()


@pytest.mark.parametrize("wire", FEEDBACK, ids=repr)
def test_a_refused_gradient_leaves_what_is_owed_as_it_was(wire):
    (end,) = states(wire, 1)
    one_step(wire, [end])
    before = flat(end.memory).copy()
    bad = gradients(0, 1)
    bad[-1][5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        wire.encode(end, bad, 1)
    np.testing.assert_array_equal(flat(end.memory), before)


def test_all_codings_up_and_down_carry_the_same_codes():
    means = [one_step(w, states(w, 3))[0][0] for w in FAMILY[1:5]]
    assert len({flat(mean).tobytes() for mean in means}) == 1


@every_wire
def test_what_must_stay_exact_travels_as_it_is_whatever_its_size(wire):
    ends = [wire.init(gradients(), 1, worker, 3, exact=(2,)) for worker in range(3)]
    means, _, _ = one_step(wire, ends)
    exact = np.mean([gradients(w)[2].astype(float) for w in range(3)], axis=0)
    np.testing.assert_allclose(means[0][2], exact, rtol=1e-6)


def test_named_tensors_stay_floats():
    names = ("conv", "bias", "dense", "scalar", "logits")
    wire = Ternary(TernGradConfig(float_names=("dense",)), names=names)
    means, _, _ = one_step(wire, states(wire, 2))
    exact = np.mean([gradients(w)[2].astype(float) for w in range(2)], axis=0)
    np.testing.assert_allclose(means[0][2], exact, rtol=1e-6)
    with pytest.raises(ValueError, match="did you mean 'dense'"):
        Ternary(TernGradConfig(float_names=("dens",)), names=names)


def test_replicas_stay_identical_for_a_thousand_steps():  # (h), with synthetic gradients of a noisy bowl
    wire, shapes = Ternary(), ((64, 5), (5,))
    ends = states(wire, 3, shapes)
    weights = [[np.ones(s, np.float32) for s in shapes] for _ in ends]
    for step in range(1000):
        noise = [gradients(end.worker, step, shapes) for end in ends]
        given = [[w + 10 * n for w, n in zip(ws, ns, strict=True)] for ws, ns in zip(weights, noise, strict=True)]
        means, _, _ = one_step(wire, ends, step, given)
        weights = [
            [w - np.float32(0.01) * m for w, m in zip(ws, mean, strict=True)]
            for ws, mean in zip(weights, means, strict=True)
        ]
    assert flat(weights[0]).tobytes() == flat(weights[1]).tobytes() == flat(weights[2]).tobytes()
    assert np.abs(flat(weights[0])).mean() < 0.2  # and they have learnt something


# --- (e), (f): bytes -----------------------------------------------------------------------------------------------

PACKINGS = ((pack_quarters, unpack_quarters, 4), (pack_fifths, unpack_fifths, 5))


@pytest.mark.parametrize(("pack_codes", "unpack_codes", "per_byte"), PACKINGS)
@settings(deadline=None)
@given(codes=hnp.arrays(np.uint8, st.integers(0, 90), elements=st.integers(0, 2)))
def test_codes_survive_packing(pack_codes, unpack_codes, per_byte, codes):
    packed, again = np.empty(-(-codes.size // per_byte), np.uint8), np.full(codes.size, 9, np.uint8)
    pack_codes(codes, packed)
    assert unpack_codes(packed, again)
    np.testing.assert_array_equal(again, codes)


@pytest.mark.parametrize("n", range(18))
def test_codes_of_every_small_length_survive_all_codings(n):
    codes = stream(n, "codes").integers(0, 3, n).astype(np.uint8)
    for pack_codes, unpack_codes, per_byte in PACKINGS:
        packed, again = np.empty(-(-n // per_byte), np.uint8), np.empty(n, np.uint8)
        pack_codes(codes, packed)
        assert unpack_codes(packed, again)
        np.testing.assert_array_equal(again, codes)
    np.testing.assert_array_equal(decompress(compress(codes), n), codes)


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.integers(0, 3000), elements=st.integers(0, 2), fill=st.just(1)))
def test_codes_survive_the_entropy_coder(codes):
    np.testing.assert_array_equal(decompress(compress(codes), codes.size), codes)


@settings(deadline=None)
@given(st.integers(1, 63), st.data())
def test_sums_survive_the_entropy_coder(workers, data):
    levels = 2 * workers + 1
    codes = st.integers(0, 2 * workers)
    sums = data.draw(hnp.arrays(np.uint8, st.integers(0, 2000), elements=codes, fill=codes))
    np.testing.assert_array_equal(decompress(compress(sums, levels), sums.size, levels), sums)


@given(st.integers(2, MOST_LEVELS), st.data())
def test_frequencies_add_up_and_none_is_lost(levels, data):
    rare = data.draw(st.integers(0, levels))  # the worst case: many that occur once, the others all alike
    counts = np.array([1] * rare + [data.draw(st.integers(0, 10**6))] * (levels - rare))
    found = frequencies(counts)
    assert found.sum() == 2**14
    assert found.min() >= 1


def test_codes_that_are_too_many_or_too_large_are_refused():
    for levels in (1, MOST_LEVELS + 1):
        with pytest.raises(ValueError, match=f"got {levels} levels, expected 2 to 127"):
            compress(np.ones(3, np.uint8), levels)
        with pytest.raises(ValueError, match=f"got {levels} levels"):
            decompress(b"\0" * 400, 3, levels)
    with pytest.raises(ValueError, match="got a code 9, expected all below 9"):
        compress(np.full(3, 9, np.uint8), 9)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.146, 0.5, 1.0])
def test_the_entropy_coder_comes_within_two_per_cent_of_the_entropy(share):
    rng = stream(3, "codes")
    codes = np.where(rng.random(200_000) < share, 2 * rng.integers(0, 2, 200_000), 1).astype(np.uint8)
    least = entropy_bits(np.bincount(codes, minlength=3)) * codes.size / 8
    assert least <= len(compress(codes)) < 1.02 * least + 40  # frequencies and states are 20 bytes


@settings(deadline=None)
@given(st.integers(1, 600), st.data())
def test_sums_survive_packing_in_the_fewest_whole_bits(workers, data):
    bits = bits_for(2 * workers + 1)
    assert bits == math.ceil(math.log2(2 * workers + 1))
    values = data.draw(hnp.arrays(np.uint32, st.integers(0, 50), elements=st.integers(0, 2 * workers)))
    packed, again = np.empty(packed_size(values.size, bits), np.uint8), np.empty_like(values)
    pack_bits(values, bits, packed)
    assert unpack_bits(packed, bits, again)
    np.testing.assert_array_equal(again, values)


def test_a_message_is_as_long_as_its_codes_and_its_header():  # (f)
    wire = Ternary()
    ends = states(wire, 4)
    _, ups, downs = one_step(wire, ends)
    table = HEADER.size + TENSOR.size * len(SHAPES)
    assert len(ups[0][0]) == len(downs[0]) == table
    floats = 4 * (3 + 1)
    ternary = [280, 257, 64]
    assert len(ups[1][0]) == table + floats + sum(math.ceil(n / 4) for n in ternary)
    assert len(downs[1]) == table + floats + sum(math.ceil(n * 4 / 8) for n in ternary)  # log2(9) is 3.17


@pytest.mark.parametrize(("code", "least"), [("2bit", 15.8), ("base3", 19.7)])
def test_lenet_sends_that_many_times_fewer_bytes_headers_and_scalers_included(code, least):
    wire = Ternary(TernGradConfig(code=code))
    (end,) = states(wire, 1, LENET)
    assert end.layout.num_values == 431_080
    _, ups, _ = one_step(wire, [end], given=[gradients(shapes=LENET)])
    whole = Float32()
    floats = one_step(whole, states(whole, 1, LENET), given=[gradients(shapes=LENET)])[1][0][0]
    assert len(floats) / sum(len(messages[0]) for messages in ups) >= least


@pytest.mark.parametrize(("workers", "bits"), [(2, 3), (4, 4), (16, 6)])
def test_the_downlink_of_integer_sums_grows_with_the_logarithm_of_the_workers(workers, bits):
    wire = Ternary()
    ends = states(wire, workers)
    _, _, downs = one_step(wire, ends)
    sums = [t for t in parse(downs[1], ends[0].layout).tensors if t.mode is Mode.SUMS]
    assert [len(t.payload) for t in sums] == [math.ceil(t.size * bits / 8) for t in sums]


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_entropy_coded_sums_come_within_one_per_cent_of_their_entropy_on_lenet(workers):
    plain, coded = Ternary(), Ternary(TernGradConfig(code="entropy", down="entropy"))
    given = [gradients(w, shapes=LENET) for w in range(workers)]
    (mean, *_), _, (_, down) = one_step(plain, states(plain, workers, LENET), given=given)
    (same, *_), _, (_, shorter) = one_step(coded, states(coded, workers, LENET), given=given)
    assert flat(same).tobytes() == flat(mean).tobytes()
    least = 0.0
    for tensor in parse(down, coded.init(given[0], 1, 0, workers).layout).tensors:
        if tensor.mode is Mode.SUMS:
            sums = np.empty(tensor.size, np.uint32)
            unpack_bits(np.frombuffer(tensor.payload, np.uint8), bits_for(2 * workers + 1), sums)
            least += entropy_bits(np.bincount(sums)) * sums.size / 8
    assert least <= len(shorter) < 1.01 * least + 800  # headers, and 60 biases and logits as floats
    assert len(shorter) < 0.7 * len(down)


def test_sums_travel_in_bits_where_coding_them_would_be_longer_or_workers_are_too_many():
    wire = Ternary(TernGradConfig(down="entropy"))
    for workers, modes in ((4, {64: Mode.SUMS, 257: Mode.CODED_SUMS}), (64, {64: Mode.SUMS, 257: Mode.SUMS})):
        ends = states(wire, workers)
        _, _, downs = one_step(wire, ends)
        found = {t.size: t.mode for t in parse(downs[1], ends[0].layout).tensors}
        assert {size: found[size] for size in modes} == modes


# --- what is refused -----------------------------------------------------------------------------------------------


@every_wire
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_refused(wire, bad):
    (end,) = states(wire, 1)
    given = gradients()
    given[2][100] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        one_step(wire, [end], given=[given])


@every_wire
def test_gradients_of_other_shapes_or_kinds_are_refused(wire):
    (end,) = states(wire, 1)
    with pytest.raises(ValueError, match="got 4 tensors, expected 5"):
        wire.encode(end, gradients()[:-1], 0)
    with pytest.raises(ValueError, match=r"shape \(258,\), expected \(257,\)"):
        wire.encode(end, [*gradients()[:2], np.zeros(258), *gradients()[3:]], 0)
    with pytest.raises(TypeError, match="make it dense first"):
        wire.encode(end, [*gradients()[:2], object(), *gradients()[3:]], 0)


@every_wire
def test_messages_of_another_step_exchange_worker_or_wire_are_refused(wire):
    ends = states(wire, 2)
    _, ups, downs = one_step(wire, ends)
    (mine, other), layout = ups[-1], ends[0].layout
    with pytest.raises(WireError, match="got step 0, expected 1"):
        wire.decode(ends[0], downs[-1], 1)
    with pytest.raises(WireError, match=r"got workers \[0, 0\], expected each once"):
        wire.aggregate([mine, mine], layout)
    late = one_step(wire, ends, 1)[1][-1][1]
    with pytest.raises(WireError, match="got step 1, expected 0"):
        wire.aggregate([mine, late], layout)
    with pytest.raises(WireError, match="got wire"):
        wire.aggregate([mine[:5] + b"\x77" + mine[6:], other], layout)
    with pytest.raises(WireError, match="direction"):
        wire.decode(ends[0], mine, 0)
    with pytest.raises(WireError, match="got none"):
        wire.aggregate([], layout)
    if wire.exchanges == 2:
        with pytest.raises(WireError, match="got exchange 0, expected 1"):
            wire.decode(ends[0], downs[0], 0)
        with pytest.raises(WireError, match="got exchange"):
            wire.aggregate([ups[0][0], ups[1][1]], layout)
        with pytest.raises(WireError, match="got step 0, expected 1"):
            wire.encode(ends[0], gradients(), 1, 1, downs[0])


def test_another_steps_scaler_is_never_used():
    wire = Ternary()
    ends = states(wire, 2)
    _, ups, _ = one_step(wire, ends)
    layout = ends[0].layout
    message = parse(ups[1][1], layout)
    other = [replace(t, scale=t.scale * 2) for t in message.tensors]
    with pytest.raises(WireError, match="expected the one that was shared"):
        wire.aggregate([ups[1][0], pack(replace(message, tensors=tuple(other)))], layout)


def test_the_header_is_checked_word_by_word():
    wire = Float32()
    (end,) = states(wire, 1)
    message = wire.encode(end, gradients(), 3)
    other = Layout(((5,),))
    for damaged, words in (
        (b"HTTP" + message[4:], "expected b'WLGR'"),
        (message[:4] + b"\x02" + message[5:], "version 2, expected 1"),
        (message[:10], "at least the 18 of a header"),
        (message[:30], "for the table of 5 tensors"),
        (message[:-1], "cut off"),
        (message + b"\0", "1 are too many"),
        (message[:7] + b"\x05" + message[8:], "direction 5"),
        (message[:10] + b"\x09\0" + message[12:], "worker 9"),
        (message[:22] + Struct("<f").pack(math.nan) + message[26:], "scaler nan"),
        (message[:22] + Struct("<f").pack(-1.0) + message[26:], "scaler -1.0"),
        (message[:26] + b"\x63" + message[27:], "mode 99"),
        (message[:18] + Struct("<I").pack(2**32 - 1) + message[22:], "claims 4294967295 elements, expected 280"),
    ):
        with pytest.raises(WireError, match=words):
            parse(damaged, end.layout)
    with pytest.raises(WireError, match="got 5 tensors, expected 1"):
        parse(message, other)


def test_a_message_that_claims_more_than_it_holds_is_refused_before_memory_is_taken():
    wire = TopK()
    (end,) = states(wire, 1)
    message = bytearray(wire.encode(end, gradients(), 0))
    start = HEADER.size + TENSOR.size * len(SHAPES)
    message[start : start + 4] = Struct("<I").pack(200)  # claims 200 of 280 entries
    with pytest.raises(WireError, match="claims 1604 bytes"):
        parse(bytes(message), end.layout)
    message[start : start + 4] = Struct("<I").pack(2**31)
    with pytest.raises(WireError, match="claims 2147483648 of 280 elements"):
        parse(bytes(message), end.layout)
    wire = Ternary(TernGradConfig(code="entropy", share_scaler="none"))
    (end,) = states(wire, 1)
    message = bytearray(wire.encode(end, gradients(), 0))
    message[start : start + 4] = Struct("<I").pack(2**32 - 1)
    with pytest.raises(WireError, match="claims 4294967299 bytes"):
        parse(bytes(message), end.layout)


def test_coded_sums_that_are_damaged_are_refused():
    wire = Ternary(TernGradConfig(code="entropy", down="entropy"))
    ends = states(wire, 4, [(257,)])
    down = one_step(wire, ends, given=[gradients(w, shapes=[(257,)]) for w in range(4)])[2][1]
    start = HEADER.size + TENSOR.size
    claims = down[:start] + Struct("<I").pack(2**32 - 1) + down[start + 4 :]
    for damaged, words in (
        (claims, "claims 4294967299 bytes"),
        (down[: start + 4] + b"\xff\xff" + down[start + 6 :], "frequencies"),
        (down[: start + 20] + b"\0\0\0\0" + down[start + 24 :], "states"),
        (down[: start + 40] + bytes([down[start + 40] ^ 1]) + down[start + 41 :], "damaged"),
        (down[:8] + Struct("<H").pack(3) + down[10:], "entropy-coded codes"),  # sums of three workers, not of four
        (down[:-1], "cut off"),
    ):
        with pytest.raises(WireError, match=words):
            wire.decode(ends[0], damaged, 0)
    with pytest.raises(WireError, match="got 64 workers that took part, expected at most 4"):
        wire.decode(ends[0], down[:8] + Struct("<H").pack(64) + down[10:], 0)


@every_wire
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_messages_are_refused_or_read_and_never_crash(wire, data):
    ends = states(wire, 2)
    _, ups, downs = one_step(wire, ends)
    exchange = data.draw(st.integers(0, wire.exchanges - 1))
    message = bytearray(data.draw(st.sampled_from([ups[exchange][0], downs[exchange]])))
    up = bytes(message) == ups[exchange][0]
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))]) if data.draw(st.booleans()) else bytes(message)
    try:
        if up:
            wire.aggregate([cut, ups[exchange][1]], ends[0].layout)
        elif exchange + 1 == wire.exchanges:
            assert np.isfinite(flat(wire.decode(ends[0], cut, 0))).all()
        else:
            wire.encode(ends[0], gradients(), 0, exchange + 1, cut)
    except WireError:
        pass


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data):
    with pytest.raises(WireError):
        parse(data, Layout(((3,),)))
    for levels in (3, 9):
        with pytest.raises(ValueError, match="entropy-coded codes"):
            decompress(b"\0" + data, 50, levels)


def test_a_place_that_a_header_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="worker: got 2"):
        Float32().init(gradients(), 1, 2, 2)
    with pytest.raises(ValueError, match="workers"):
        Float32().init(gradients(), 1, 0, 2**16)
    with pytest.raises(ValueError, match="step"):
        Float32().encode(states(Float32(), 1)[0], gradients(), 2**32)


def test_nonsense_settings_are_refused():
    for make in (lambda: QSGD(levels=0), lambda: QSGD(bucket=0), lambda: TopK(share=0.0), lambda: TopK(share=1.5),
                 lambda: SignSGD(min_size=0)):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            make()


def test_the_servers_number_is_no_workers():
    assert SERVER > 0xFFFE
