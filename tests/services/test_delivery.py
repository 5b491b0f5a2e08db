"""Models that travel: every byte, every hit and every retry of a download."""

import networkx as nx
import numpy as np
import pytest

from wirelesslab.network import EMBB, URLLC, Network, Outage, SetActive
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.services.delivery import Delivery
from wirelesslab.services.delivery_files import MANIFEST, Key, Manifest, Payload, Release, encode_ask
from wirelesslab.services.delivery_records import Cache
from wirelesslab.vision.method import State
from wirelesslab.vision.saving import WeightFileError, save_state

ACCESS_BPS, CORE_BPS = 1e6, 4e6
ACCESS_S, CORE_S = 1e-3, 5e-3
CHUNK = 10_000
FILE = np.random.default_rng(7).bytes(10 * CHUNK + 4_321)
NUM = 11


def tree(devices: int = 3):
    """Devices on links of their own to an edge node, which one link joins to the cloud."""
    graph = nx.DiGraph()
    add_node(graph, "cloud", "cloud", (0.0, 0.0))
    add_node(graph, "edge-1", "edge", (1.0, 0.0))
    add_link(graph, "edge-1", "cloud", rate_bps=CORE_BPS, delay_s=CORE_S)
    for device in range(devices):
        add_node(graph, f"device-{device}", "device", (2.0, float(device)))
        add_link(graph, f"device-{device}", "edge-1", rate_bps=ACCESS_BPS, delay_s=ACCESS_S)
    return graph


def deliver(*starts_s: float, until_s: float = 60.0, network: Network | None = None, release=None, **options):
    """A delivery to as many devices as there are starts, and its network, run to its end."""
    network = network or Network(tree(len(starts_s)), (EMBB, URLLC), seed=1, keep_records=None)
    options = {"caches": {"edge-1": 10**7}, "chunk_bytes": CHUNK, "window": 4} | options
    delivery = network.add(
        Delivery([release or Release.of_bytes("lenet", "1", FILE)], origin="cloud", slice=EMBB, starts_s=list(starts_s),
                 clients=[f"device-{device}" for device in range(len(starts_s))], **options)
    )  # fmt: skip
    network.run(until_s)
    network.check()
    return delivery, network


def served_bytes(network: Network, link: str) -> int:
    return int(network.stations[link].account().served_bytes.sum())


# --- bytes and times ------------------------------------------------------------------------------------------------


def test_a_release_is_read_from_a_path_in_words_and_a_missing_file_is_named(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(FILE)
    assert Release.of_file("lenet", "1", str(path)).digests == Release.of_file("lenet", "1", path).digests
    with pytest.raises(FileNotFoundError, match=r"no file .*other\.keras; write it first"):
        Release.of_file("lenet", "1", str(tmp_path / "other.keras"))
    with pytest.raises(ValueError, match=r"no file .*state\.npz; write it first with vision\.saving\.save_state"):
        Release.of_state_file("lenet", "1", str(tmp_path / "state"))


def test_a_file_on_disk_travels_byte_for_byte_and_links_carry_its_length_and_the_manifest(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(FILE)
    delivery, network = deliver(0.0, release=Release.of_file("lenet", "1", path))
    (download,) = delivery.downloads
    manifest = len(delivery.payload(Key("lenet", "", "1")).manifest)
    assert download.content_bytes == download.chunk_bytes == path.stat().st_size
    assert download.manifest_bytes == manifest
    for link in ("cloud->edge-1", "edge-1->device-0"):
        assert served_bytes(network, link) == path.stat().st_size + manifest
    assert served_bytes(network, "device-0->edge-1") == download.ask_bytes
    assert delivery.held_release(0, "lenet").parts["file"] == FILE


def test_a_download_alone_takes_what_its_messages_take_on_the_way():
    delivery, _ = deliver(0.0, window=100)
    (download,) = delivery.downloads
    key = Key("lenet", "", "1")
    both_s, way_s = 8 / ACCESS_BPS + 8 / CORE_BPS, ACCESS_S + CORE_S
    manifest = len(delivery.payload(key).manifest)
    manifest_s = both_s * (len(encode_ask(key, [MANIFEST])) + manifest) + 2 * way_s
    # all chunks are asked for at once and follow one another on the slower link, the last one shorter
    first_s = both_s * (len(encode_ask(key, range(NUM))) + CHUNK) + 2 * way_s
    rest_s = 8 * (len(FILE) - CHUNK) / ACCESS_BPS
    spans = download.life.spans_s
    assert spans == pytest.approx({"manifest": manifest_s, "first chunk": first_s, "rest": rest_s}, rel=1e-9)
    assert download.first_s == pytest.approx(manifest_s + first_s, rel=1e-9)


def test_the_delay_of_every_download_is_the_exact_sum_of_its_spans():
    delivery, _ = deliver(0.0, 0.013, 0.3)
    assert len(delivery.downloads) == 3
    for download in delivery.downloads:
        assert sum(download.life.exact_spans().values()) == download.life.exact_delay
        assert download.delay_s == download.life.delay_s


def test_a_small_window_cannot_fill_a_long_link_and_a_large_one_can():
    times = {window: deliver(0.0, window=window)[0].downloads[0].delay_s for window in (1, 4, 100)}
    assert times[1] > times[4] >= times[100]
    least_s = 8 * len(FILE) / ACCESS_BPS
    assert times[4] == pytest.approx(least_s, rel=0.15)  # a round trip and the manifest on top


# --- caches ---------------------------------------------------------------------------------------------------------


def test_whoever_comes_later_is_served_by_the_cache_and_the_core_carries_the_file_once():
    delivery, network = deliver(0.0, 10.0, 20.0)
    first, *later = delivery.downloads
    assert (first.hits, first.shared) == (0, 0)
    assert [d.hits for d in later] == [NUM, NUM]
    assert all(d.delay_s < first.delay_s for d in later)
    manifest = len(delivery.payload(Key("lenet", "", "1")).manifest)
    assert served_bytes(network, "cloud->edge-1") == len(FILE) + manifest
    cache = delivery.caches["edge-1"]
    assert (cache.hits, cache.misses, cache.shared) == (2 * (NUM + 1), NUM + 1, 0)
    assert cache.used_bytes == len(FILE)


def test_those_who_come_while_a_chunk_is_on_its_way_to_the_cache_share_it():
    delivery, network = deliver(0.0, 0.0, 0.0)
    manifest = len(delivery.payload(Key("lenet", "", "1")).manifest)
    assert served_bytes(network, "cloud->edge-1") == len(FILE) + manifest
    cache = delivery.caches["edge-1"]
    assert cache.misses == NUM + 1
    assert cache.hits + cache.shared == 2 * (NUM + 1)
    assert cache.shared > 0
    assert sum(d.hits + d.shared for d in delivery.downloads) == 2 * NUM


def test_without_a_cache_the_core_carries_the_file_for_each():
    delivery, network = deliver(0.0, 0.0, 0.0, caches={})
    manifest = len(delivery.payload(Key("lenet", "", "1")).manifest)
    assert served_bytes(network, "cloud->edge-1") == 3 * (len(FILE) + manifest)
    assert all(d.hits == d.shared == 0 for d in delivery.downloads)


def test_caches_in_a_row_ask_one_another():
    graph = tree(2)
    add_node(graph, "far", "cloud", (-1.0, 0.0))
    add_link(graph, "cloud", "far", rate_bps=CORE_BPS, delay_s=CORE_S)
    network = Network(graph, (EMBB,), seed=1)
    delivery = network.add(
        Delivery([Release.of_bytes("lenet", "1", FILE)], origin="far", clients=["device-0", "device-1", "edge-1"],
                 slice=EMBB, caches={"edge-1": 5 * CHUNK, "cloud": 10**7}, chunk_bytes=CHUNK, starts_s=[0.0, 9.0, 20.0])
    )  # fmt: skip
    network.run(60.0)
    network.check()
    assert [d.client for d in delivery.downloads] == [0, 1, 2]  # the third sits at a cache's own node
    assert [d.hits for d in delivery.downloads] == [0, NUM, NUM]
    assert served_bytes(network, "far->cloud") == len(FILE) + len(delivery.payload(Key("lenet", "", "1")).manifest)
    assert delivery.caches["edge-1"].used_bytes <= 5 * CHUNK
    assert delivery.caches["edge-1"].evicted_bytes > 0


def test_a_cache_gives_up_what_was_asked_for_longest_ago_by_bytes():
    cache, key = Cache(100), Key("m", "", "1")
    for number, size in enumerate((40, 40, 20)):
        cache.store((key, number), size)
    assert cache.has((key, 0))  # now chunk 1 is the oldest
    cache.store((key, 3), 30)
    assert list(cache.stored) == [(key, 2), (key, 0), (key, 3)]
    cache.store((key, 4), 101)  # larger than all of it
    assert cache.used_bytes == 90
    assert not cache.has((key, 1))
    assert not cache.has((Key("m", "", "2"), 0))  # another version is another chunk


# --- versions and updates -------------------------------------------------------------------------------------------


def tensors(seed: int = 0):
    rng, shapes = (
        np.random.default_rng(seed),
        {"conv": (5, 5, 1, 20), "dense": (800, 50), "bias": (10,), "head": (50, 10)},
    )
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_of_a_new_version_only_the_tensors_that_changed_travel_to_the_byte():
    old, new = tensors(), tensors()
    new["head"] = new["head"] + np.float32(1)
    new["extra"] = np.arange(7)
    del new["bias"]
    first, second = Release.of_arrays("net", "1", old), Release.of_arrays("net", "2", new)
    delivery, network = deliver(0.0, 5.0, release=first, until_s=4.0)
    delivery.publish(second)
    delivery.fetch(0)  # has version 1; client 1 comes later and has nothing
    network.run(60.0)
    network.check()
    update = next(d for d in delivery.downloads if d.base == "1")
    whole = next(d for d in delivery.downloads if d.client == 1)
    frame = 12 + sum(4 + len(n) + 8 for n in ("extra", "head")) + 4 + len("bias")
    assert update.content_bytes == frame + len(second.parts["head"]) + len(second.parts["extra"])
    assert update.chunk_bytes == update.content_bytes < whole.content_bytes / 20
    assert (whole.base, whole.version, whole.hits) == ("", "2", 0)  # what the cache has of another version is no hit
    for client in (0, 1):
        got = delivery.held_release(client, "net").arrays()
        assert set(got) == set(new)
        for name, array in new.items():
            np.testing.assert_array_equal(got[name], array)


def test_a_state_travels_as_its_tensors_with_the_optimizer_or_without_and_from_a_file_on_disk(tmp_path):
    state = State({"weights/a": np.ones((2, 3), np.float32), "optimizer/m/a": np.zeros((2, 3))}, {"step": 7})
    whole, weights = Release.of_state("net", "1", state), Release.of_state("net", "1", state, ("weights",))
    assert set(whole.arrays()) == {"weights/a", "optimizer/m/a", "numbers"}
    assert set(weights.arrays()) == {"weights/a"}
    np.testing.assert_array_equal(weights.arrays()["weights/a"], state.arrays["weights/a"])
    path = save_state(tmp_path / "net", state, "a method")
    assert set(Release.of_state_file("net", "1", path).arrays()) >= set(whole.arrays())
    with pytest.raises(ValueError, match="expected some of"):
        Release.of_state("net", "1", state, ("weight",))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightFileError, match="holds no arrays"):
        Release.of_state_file("net", "1", path)


def test_a_new_version_with_the_same_tensors_costs_a_manifest_and_an_empty_frame():
    delivery, network = deliver(0.0, release=Release.of_arrays("net", "1", tensors()), until_s=5.0)
    delivery.publish(Release.of_arrays("net", "2", tensors()))
    delivery.fetch(0)
    network.run(9.0)
    assert delivery.downloads[1].content_bytes == 12
    delivery.fetch(0)  # has the latest: nothing happens
    network.run(12.0)
    assert len(delivery.downloads) == 2


def test_a_file_as_a_whole_travels_as_a_whole_whatever_its_version():
    delivery, network = deliver(0.0, until_s=5.0)
    delivery.publish(Release.of_bytes("lenet", "2", FILE + b"!"))
    delivery.fetch(0)
    network.run(9.0)
    assert [d.content_bytes for d in delivery.downloads] == [len(FILE), len(FILE) + 1]


def test_a_version_that_is_there_cannot_be_published_again_for_caches_hold_it():
    delivery, _ = deliver(0.0)
    with pytest.raises(ValueError, match="lenet 1 is there already, expected a new version"):
        delivery.publish(Release.of_bytes("lenet", "1", b"other"))


# --- what breaks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["edge-1->device-0", "cloud->edge-1", "device-0->edge-1", "edge-1->cloud"])
def test_a_link_that_dies_in_mid_download_costs_only_what_was_not_yet_received(link):
    whole, _ = deliver(0.0)
    network = Network(tree(1), (EMBB, URLLC), seed=1, keep_records=None)
    network.add(Outage(element=link, start_s=0.45, end_s=3.0))
    delivery, network = deliver(0.0, network=network, timeout_s=0.05)
    (download,) = delivery.downloads
    manifest = download.manifest_bytes
    # a transmission that a failure cuts short serves nothing, so each link has served each chunk exactly once
    for way in ("cloud->edge-1", "edge-1->device-0"):
        assert served_bytes(network, way) == len(FILE) + manifest
    assert download.chunk_bytes == len(FILE)
    assert delivery.retries > 0
    received = sum(
        r.flow.num_bytes for r in network.run(61.0).records
        if r.delivered and r.flow.sink == "device-0" and r.ended_s < 0.45 and r.flow.num_bytes in (CHUNK, 4_321)
    )  # fmt: skip
    assert 0 < received < len(FILE)
    # what was there stays: from the repair on, at most the rest, two round trips, the timeout and one chunk's work lost
    rest_s = 8 * (len(FILE) - received) / ACCESS_BPS + 4 * (ACCESS_S + CORE_S) + 0.05 + 8 * CHUNK / CORE_BPS
    assert 3.0 < download.ended_s < 3.0 + rest_s
    assert download.ended_s > whole.downloads[0].ended_s


def test_a_chunk_that_comes_damaged_is_seen_by_its_checksum_and_fetched_again():
    network = Network(tree(1), (EMBB, URLLC), seed=1, keep_records=None)
    plan = Delivery([Release.of_bytes("lenet", "1", FILE)], origin="cloud", clients=["device-0"], slice=EMBB,
                    caches={"edge-1": 10**7}, chunk_bytes=CHUNK, starts_s=[0.0])  # fmt: skip
    plan.damage_next(0, 3, times=2)
    plan.damage_next(0, MANIFEST)
    plan.damage_next("edge-1", 5)
    network.add(plan)
    network.run(60.0)
    network.check()
    (download,) = plan.downloads
    manifest = len(plan.payload(Key("lenet", "", "1")).manifest)
    assert download.damaged == 3
    assert plan.caches["edge-1"].damaged == 1
    assert download.chunk_bytes == len(FILE) + 2 * CHUNK
    assert download.manifest_bytes == 2 * manifest
    assert served_bytes(network, "cloud->edge-1") == len(FILE) + CHUNK + manifest  # the cache hands on nothing damaged
    assert plan.held_release(0, "lenet").parts["file"] == FILE


def test_on_a_noisy_way_all_arrive_whole_and_damage_is_as_frequent_as_declared():
    delivery, _ = deliver(*([0.0] * 20), damage_prob=0.2, until_s=200.0)
    assert len(delivery.downloads) == 20
    came = sum(d.chunk_bytes for d in delivery.downloads) - 20 * len(FILE)
    assert came > 0
    damaged = sum(d.damaged for d in delivery.downloads)
    tries = 20 * (NUM + 1) + damaged
    # binomial: five standard errors, a false alarm of 6e-7
    assert abs(damaged / tries - 0.2) < 5 * np.sqrt(0.2 * 0.8 / tries)


def test_any_changed_byte_is_noticed():
    payload = Payload.between(Release.of_arrays("net", "1", tensors()), None, CHUNK)
    for number in (MANIFEST, 0, payload.num_chunks - 1):
        content = payload.chunk(number)
        assert payload.sound(number, content)
        for place in np.linspace(0, len(content) - 1, 50).astype(int):
            changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            assert not payload.sound(number, changed)
        assert not payload.sound(number, content[:-1])
    assert Manifest.decode(payload.manifest) == payload.vouched


def test_a_slice_that_is_switched_off_halts_downloads_and_switched_on_lets_them_go_on():
    delivery, network = deliver(0.0, until_s=0.2)
    network.apply(SetActive(slice="embb", active=False))
    network.run(5.0)
    assert not delivery.downloads
    network.apply(SetActive(slice="embb", active=True))
    network.run(30.0)
    network.check()
    assert len(delivery.downloads) == 1


# --- records that can be copied -------------------------------------------------------------------------------------


def test_a_delivery_that_was_written_down_in_mid_download_goes_on_to_the_last_bit():
    network = Network(tree(4), (EMBB, URLLC), seed=3, keep_records=None)
    network.add(Outage(element="cloud->edge-1", start_s=0.3, end_s=0.9))
    first, second = Release.of_arrays("net", "1", tensors()), Release.of_arrays("net", "2", tensors(1))
    delivery = network.add(
        Delivery([first, second], origin="cloud", clients=[f"device-{i}" for i in range(4)], slice=EMBB,
                 caches={"edge-1": 60_000}, chunk_bytes=4_000, window=3, starts_s=[0.0, 0.1, 0.5, np.inf],
                 damage_prob=0.05)
    )  # fmt: skip
    delivery.fetch(3, version="1")
    for moment_s in (0.29, 0.35, 0.8, 1.1):
        network.run(moment_s)
        copy = Network.restored(network.snapshot())
        assert copy.snapshot().digest() == network.snapshot().digest()
        copy.run(30.0)
        copies = copy.actors["delivery"].downloads
    network.run(30.0)
    network.check()
    assert copies == delivery.downloads
    assert copy.snapshot().digest() == network.snapshot().digest()
    assert len(copies) == 4


def test_many_clients_at_one_node_cost_rows_and_no_processes():
    graph = tree(1)
    network = Network(graph, (EMBB,), seed=1)
    delivery = network.add(
        Delivery([Release.of_bytes("net", "1", FILE[:3_000])], origin="cloud", clients=["device-0"] * 500,
                 caches={"edge-1": 10**6}, slice=EMBB, starts_s=np.linspace(0, 1, 500))
    )  # fmt: skip
    network.run(100.0)
    network.check()
    assert len(delivery.downloads) == 500
    assert not network.agenda._names  # nobody sleeps: there is no process
    assert served_bytes(network, "edge-1->device-0") == sum(
        d.chunk_bytes + d.manifest_bytes for d in delivery.downloads
    )


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"origin": "nowhere"}, "expected a node of the network"),
        ({"clients": ["device-9"]}, "expected a node of the network"),
        ({"caches": {"cloud": 5}}, "the origin has all"),
        ({"caches": {"edge-1": 0}}, "capacity_bytes"),
        ({"holds": {"lenet": "7"}}, "expected one of"),
        ({"damage_prob": 1.0}, "damage_prob"),  # nothing would ever arrive
        ({"starts_s": [-1.0]}, "got -1 of client 0, expected instants from 0 on"),
        ({"starts_s": [0.0, 1.0]}, "starts_s"),
        ({"clients": []}, "at least one of each"),
    ],
    ids=str,
)
def test_nonsense_is_refused(options, said):
    given = {"origin": "cloud", "clients": ["device-0"], "slice": EMBB} | options
    with pytest.raises(ValueError, match=said):
        Network(tree(1), (EMBB,), seed=1).add(Delivery([Release.of_bytes("lenet", "1", FILE)], **given))


def test_a_release_without_content_is_refused():
    with pytest.raises(ValueError, match="at least one byte"):
        Release.of_bytes("lenet", "1", b"")
    with pytest.raises(ValueError, match=r"got parts \['net'\], expected 'file' alone"):
        Release("lenet", "1", {"net": FILE}, whole=True)


def test_damage_is_planned_where_something_comes_and_clients_are_counted_from_0():
    delivery, _ = deliver(0.0)
    for nowhere in ("cloud", 1, -1):
        with pytest.raises(ValueError, match=r"expected a client below 1 or one of \['edge-1'\]"):
            delivery.damage_next(nowhere, 0)
    assert delivery.has(0, "lenet")
    assert not delivery.has(-1, "lenet")


def test_an_older_version_comes_back_as_its_own_tensors_when_it_is_asked_for():
    old, new = ({"kept": np.arange(900.0), "changed": np.full(300, value)} for value in (1.0, 2.0))
    delivery, network = deliver(0.0, release=Release.of_arrays("lenet", "1", old))
    delivery.publish(Release.of_arrays("lenet", "2", new))
    for version in ("2", "1"):
        delivery.fetch(0, version=version)
        network.run(network.now_s + 5)
    assert [(d.base, d.version) for d in delivery.downloads] == [("", "1"), ("1", "2"), ("2", "1")]
    assert delivery.downloads[1].content_bytes == delivery.downloads[2].content_bytes < 900 * 8
    assert delivery.held_release(0, "lenet").arrays()["changed"].tolist() == old["changed"].tolist()
