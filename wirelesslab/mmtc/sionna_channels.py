"""The mMTC wing's one door to Sionna: block fading from the channel models of 3GPP TR 38.901.

A draw is flat: the coefficient h = Σ_p a_p of one subcarrier, at the carrier, in one instant, of one
single-antenna device (vertical, omnidirectional) at the station's M antennas (the same kind). What
happens over time and frequency within a frame is left out; `taps` has the impulse responses. Each draw
has unit mean power per antenna: no path loss and no shadowing, for the path gain is the scenario's gain
law. Each is independent of all others: the spatial consistency of neighbouring devices is left out. A
device's own phase is unknown to the station, so each draw is turned by a uniform one.

Configs are made without Sionna; `draw`, `taps` and `correlation` load it and TensorFlow (seconds), and the
first draw of a config traces its graph (UMi, UMa, RMa: 2 to 3 s). Then channels come in chunks of a fixed
size from the traced graph, the last one cut. Sionna's own generators are neither read nor moved.

References:
    Hoydis et al., Sionna, arXiv 2203.11854; 3GPP TR 38.901 V16, sections 7.5 and 7.7.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import toeplitz

from wirelesslab import check
from wirelesslab.mmtc.antennas import AntennaArray, UniformLinear, positions, response
from wirelesslab.mmtc.channels import Fading
from wirelesslab.mmtc.impulse_responses import Taps

Model = Literal["A", "B", "C", "D", "E"]
MODELS: tuple[Model, ...] = ("A", "B", "C", "D", "E")
LINE_OF_SIGHT_MODELS = ("D", "E")
CHUNK_BYTES = 2**25  # of Sionna's largest array: a dozen like it are alive at once
MOST_CLUSTERS = 24  # of any of the models
RAYS_PER_CLUSTER = 20  # of TR 38.901, and of Sionna's sums of sinusoids
CORRELATION_DRAWS = 2048  # from which the correlation of a system-level model is estimated

# TR 38.901, table 7.5-3: offsets of the rays of a cluster, for a spread of 1.
RAY_OFFSETS = (0.0447, 0.1413, 0.2492, 0.3715, 0.5129, 0.6797, 0.8844, 1.1481, 1.5195, 2.1551)


class _BySionna:
    """What all of them do."""

    def draw(self, rng: np.random.Generator, num_channels: int, num_antennas: int) -> NDArray[np.complex128]:
        """Return independent channel vectors, shape (num_channels, M)."""
        return np.concatenate([chunk.at() for chunk in _chunks(self, rng, num_channels, num_antennas)])

    def taps(self, rng: np.random.Generator, num_channels: int, num_antennas: int) -> Taps:
        """Return independent impulse responses; they take as much memory as there are paths."""
        chunks = list(_chunks(self, rng, num_channels, num_antennas))
        delays = np.concatenate([chunk.delays_s for chunk in chunks])
        return Taps(np.concatenate([chunk.coefficients for chunk in chunks]), delays)


@dataclass(frozen=True, kw_only=True)
class TDL(_BySionna):
    """A tapped delay line: Rayleigh taps, with a line of sight in the first for models D and E.

    At one subcarrier A to C are Rayleigh fading but for Sionna's sums of 20 sinusoids per tap; of D and E
    the specular part reaches all antennas in equal phase. The delay spread shapes `taps`, not the flat draw's law.

    Attributes:
        model: One of `MODELS`.
        delay_spread_s: Nominal rms delay spread, in seconds.
        carrier_hz: Carrier frequency.
        correlation_coefficient: r, E[h_i h_j*] = r^|i-j|, applied by Sionna; models A to C only, for it would
            give the specular part another power at each antenna.
    """

    model: Model = "A"
    delay_spread_s: float = 100e-9
    carrier_hz: float = 3.5e9
    correlation_coefficient: float = 0.0

    def __post_init__(self) -> None:
        check.one_of(MODELS, model=self.model)
        check.positive(delay_spread_s=self.delay_spread_s, carrier_hz=self.carrier_hz)
        check.within(0, 0.999, correlation_coefficient=self.correlation_coefficient)
        if self.correlation_coefficient and self.model in LINE_OF_SIGHT_MODELS:
            msg = (
                f"correlation_coefficient: got {self.correlation_coefficient:g} for model {self.model!r}, expected 0; "
                "correlated antennas go with models A, B and C"
            )
            raise ValueError(msg)

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return r^|i-j|, or for D and E the specular power everywhere and the rest on the diagonal, shape (M, M)."""
        exponential = toeplitz(self.correlation_coefficient ** np.arange(num_antennas))
        specular = 0.0
        if self.model in LINE_OF_SIGHT_MODELS:
            power = 10 ** (np.array(self.table()["powers"]) / 10)
            specular = float(power[0] / power.sum())
        return np.asarray(specular + (1 - specular) * exponential, dtype=complex)

    def table(self) -> dict[str, Any]:
        """Return the standard's table of the model, as Sionna keeps it: delays over the spread, powers in dB."""
        return _table(f"TDL-{self.model}.json", self)

    def _sampler(self, num_antennas: int, chunk: int) -> Callable[[], Any]:
        tf, tr38901 = _sionna(self)
        r = self.correlation_coefficient
        channel = tr38901.TDL(
            self.model,
            self.delay_spread_s,
            self.carrier_hz,
            num_rx_ant=num_antennas,
            rx_corr_mat=tf.constant(self.correlation(num_antennas), tf.complex64) if r else None,
            precision="single",
        )
        return lambda: channel(chunk, 1, 1.0)


@dataclass(frozen=True, kw_only=True)
class CDL(_BySionna):
    """Clusters at fixed directions, received by an array: all devices share one strong correlation.

    It is as if all devices stood in one place: directions do not tell them apart.

    Attributes:
        model: One of `MODELS`.
        delay_spread_s: Nominal rms delay spread, in seconds.
        carrier_hz: Carrier frequency.
        array: Where the station's antennas stand.
    """

    model: Model = "A"
    delay_spread_s: float = 100e-9
    carrier_hz: float = 3.5e9
    array: AntennaArray = UniformLinear()

    def __post_init__(self) -> None:
        check.one_of(MODELS, model=self.model)
        check.positive(delay_spread_s=self.delay_spread_s, carrier_hz=self.carrier_hz)

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return the sum over the table's clusters and their rays of power times a a^H, shape (M, M).

        A cluster's azimuths and zeniths are coupled at random: its mean is over all their pairs.
        """
        table = self.table()
        power = 10 ** (np.array(table["powers"]) / 10)
        offsets = np.concatenate([RAY_OFFSETS, np.negative(RAY_OFFSETS)])
        total = np.zeros((num_antennas, num_antennas), dtype=complex)
        for number, share in enumerate(power / power.sum()):
            specular = bool(table["los"]) and number == 0
            spread = np.zeros(1) if specular else offsets
            azimuth = np.deg2rad(table["aod"][number] + table["cASD"] * spread)
            zenith = np.deg2rad(table["zod"][number] + table["cZSD"] * spread)
            waves = response(self.array, num_antennas, azimuth[:, None], zenith).reshape(-1, num_antennas)
            total += share / len(waves) * (waves.T @ waves.conj())
        return total

    def table(self) -> dict[str, Any]:
        """Return the standard's table of the model, as Sionna keeps it; angles in degrees, powers in dB."""
        return _table(f"CDL-{self.model}.json", self)

    def _sampler(self, num_antennas: int, chunk: int) -> Callable[[], Any]:
        _, tr38901 = _sionna(self)
        device, station = _panels(tr38901, self.array, num_antennas, self.carrier_hz)
        channel = tr38901.CDL(
            self.model, self.delay_spread_s, self.carrier_hz, device, station, "uplink", precision="single"
        )
        return lambda: channel(chunk, 1, 1.0)


@dataclass(frozen=True, kw_only=True)
class _SystemLevel(_BySionna):
    """What UMi, UMa and RMa share; each device is dropped anew in the sector, uniformly over its area."""

    carrier_hz: float = 3.5e9
    array: AntennaArray = UniformLinear()
    indoor_prob: float = 0.8
    line_of_sight: bool | None = None
    min_distance_m: float = 10.0
    max_distance_m: float = 200.0
    station_height_m: float = 10.0
    device_height_m: float = 1.5
    sector_deg: float = 120.0

    def __post_init__(self) -> None:
        check.positive(
            carrier_hz=self.carrier_hz,
            min_distance_m=self.min_distance_m,
            max_distance_m=self.max_distance_m,
            station_height_m=self.station_height_m,
            device_height_m=self.device_height_m,
        )
        check.within(0, 1, indoor_prob=self.indoor_prob)
        check.within(0, 360, sector_deg=self.sector_deg)
        if not self.max_distance_m > self.min_distance_m:
            wanted = f"more than min_distance_m={self.min_distance_m:g}"
            msg = f"max_distance_m: got {self.max_distance_m:g}, expected {wanted}"
            raise ValueError(msg)

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return E[h h^H] over the sector, shape (M, M): an estimate, with errors of about 0.02.

        There is no closed form. It is the mean of Σ_p a_p a_p^H over `CORRELATION_DRAWS` devices of a stream of
        their own, averaged over pairs of antennas of equal displacement, over the mean power.
        """
        return _estimated_correlation(self, num_antennas)

    def _sampler(self, num_antennas: int, chunk: int) -> Callable[..., Any]:
        tf, tr38901 = _sionna(self)
        device, station = _panels(tr38901, self.array, num_antennas, self.carrier_hz)
        kind = type(self).__name__
        options = {} if kind == "RMa" else {"o2i_model": "low"}
        channel = getattr(tr38901, kind)(
            carrier_frequency=self.carrier_hz,
            ut_array=device,
            bs_array=station,
            direction="uplink",
            enable_pathloss=False,
            enable_shadow_fading=False,
            precision="single",
            **options,
        )
        # Sionna branches on the carrier. As a number and not a tensor, it needs no autograph: a third of the time.
        channel._scenario._carrier_frequency = np.float32(self.carrier_hz)
        still = tf.zeros([chunk, 1, 3])
        mast = tf.tile(tf.constant([[[0.0, 0.0, self.station_height_m]]]), [chunk, 1, 1])

        def sample(places: Any, indoor: Any) -> Any:
            channel.set_topology(
                ut_loc=places,
                bs_loc=mast,
                ut_orientations=still,
                bs_orientations=still,
                ut_velocities=still,
                in_state=indoor,
                los=self.line_of_sight,
            )
            return channel(1, 1.0)

        return sample

    def drop(self, rng: np.random.Generator, num_devices: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return places (devices, 1, 3) in metres, the mast at the origin, and who is indoors (devices, 1)."""
        inner = (self.min_distance_m / self.max_distance_m) ** 2
        distance = self.max_distance_m * np.sqrt(rng.uniform(inner, 1, num_devices))
        azimuth = np.deg2rad(self.sector_deg / 2) * rng.uniform(-1, 1, num_devices)
        height = np.full(num_devices, self.device_height_m)
        places = np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), height], axis=-1)
        indoor = rng.uniform(size=(num_devices, 1)) < self.indoor_prob
        return places[:, None].astype(np.float32), indoor


@dataclass(frozen=True, kw_only=True)
class UMi(_SystemLevel):
    """Urban micro, street canyon: stations below the roofs.

    Attributes:
        carrier_hz: Carrier frequency.
        array: Where the station's antennas stand; its broadside is the sector's middle.
        indoor_prob: Probability that a device is indoors (80 % in the standard's table 7.2-1).
        line_of_sight: The same for all devices outdoors; None draws it by the standard's probability.
        min_distance_m: Nearest device, in the plane.
        max_distance_m: Farthest device, in the plane.
        station_height_m: Height of the array.
        device_height_m: Height of the devices.
        sector_deg: Width of the sector in which they stand.
    """


@dataclass(frozen=True, kw_only=True)
class UMa(_SystemLevel):
    """Urban macro: stations above the roofs; attributes as in `UMi`, other distances and heights."""

    min_distance_m: float = 35.0
    max_distance_m: float = 500.0
    station_height_m: float = 25.0


@dataclass(frozen=True, kw_only=True)
class RMa(_SystemLevel):
    """Rural macro: high masts, wide cells; attributes as in `UMi`; half of the devices are indoors."""

    indoor_prob: float = 0.5
    min_distance_m: float = 35.0
    max_distance_m: float = 2000.0
    station_height_m: float = 35.0


SIONNA_FADINGS: tuple[type[Fading], ...] = (TDL, CDL, UMi, UMa, RMa)


@dataclass(eq=False)
class _Traced:
    """A config's graph for one number of antennas, and the generator that it draws from."""

    sample: Callable[..., Any]
    generator: Any
    chunk: int


def _chunks(law: Any, rng: np.random.Generator, num_channels: int, num_antennas: int) -> Iterator[Taps]:
    """Yield impulse responses chunk by chunk, seeded from `rng`: at least one chunk, the last one cut."""
    traced = _traced(law, num_antennas)
    traced.generator.reset_from_seed(int(rng.integers(2**62)))
    for start in range(0, max(num_channels, 1), traced.chunk):
        a, tau = traced.sample(*_inputs(law, rng, traced.chunk))
        kept = min(traced.chunk, num_channels - start)
        turns = np.exp(2j * np.pi * rng.uniform(size=(traced.chunk, 1, 1)))
        yield Taps((turns * a.numpy()[:, 0, :, 0, 0, :, 0])[:kept], tau.numpy()[:kept, 0, 0, :].astype(np.float64))


def _inputs(law: Any, rng: np.random.Generator, chunk: int) -> tuple[Any, ...]:
    return law.drop(rng, chunk) if isinstance(law, _SystemLevel) else ()


@lru_cache(maxsize=32)
def _traced(law: Any, num_antennas: int) -> _Traced:
    """Trace once for a config and a number of antennas.

    While tracing, Sionna's generator is one of ours: the graph keeps it, and Sionna's is put back. So a draw
    depends on its seed alone, and nobody else's numbers depend on our draws.
    """
    check.positive_integer(num_antennas=num_antennas)
    tf, _ = _sionna(law)
    from sionna.phy import config

    chunk = int(np.clip(CHUNK_BYTES // (16 * MOST_CLUSTERS * RAYS_PER_CLUSTER * num_antennas), 16, 512))
    generator = tf.random.Generator.from_seed(0)
    sionnas, config._tf_rng = config._tf_rng, generator
    try:
        sample = tf.function(law._sampler(num_antennas, chunk), autograph=False)
        example = map(tf.constant, _inputs(law, np.random.default_rng(0), chunk))
        graph = sample.get_concrete_function(*example)
    finally:
        config._tf_rng = sionnas
    return _Traced(lambda *inputs: graph(*map(tf.constant, inputs)), generator, chunk)


@lru_cache(maxsize=32)
def _estimated_correlation(law: _SystemLevel, num_antennas: int) -> NDArray[np.complex128]:
    taps = law.taps(np.random.default_rng(38901), CORRELATION_DRAWS, num_antennas).coefficients
    pairs = np.einsum("nip,njp->ij", taps, taps.conj(), optimize=True)
    place = positions(law.array, num_antennas)
    apart = (place[:, None] - place[None]).reshape(-1, 3)
    _, group = np.unique(np.round(apart, 6), axis=0, return_inverse=True)
    group = group.ravel()
    means = np.bincount(group, pairs.real.ravel()) + 1j * np.bincount(group, pairs.imag.ravel())
    mean = (means / np.bincount(group))[group].reshape(num_antennas, num_antennas)
    return np.asarray(mean / mean[0, 0].real)


def _panels(tr38901: Any, array: AntennaArray, num_antennas: int, carrier_hz: float) -> tuple[Any, Any]:
    """Return Sionna's antennas of device and station."""
    element: dict[str, Any] = {
        "polarization": "single",
        "polarization_type": "V",
        "antenna_pattern": "omni",
        "carrier_frequency": carrier_hz,
        "precision": "single",
    }
    rows, columns = array.grid(num_antennas)
    station = tr38901.PanelArray(
        num_rows_per_panel=rows,
        num_cols_per_panel=columns,
        element_vertical_spacing=array.spacings[0],
        element_horizontal_spacing=array.spacings[1],
        **element,
    )
    return tr38901.Antenna(**element), station


def _table(name: str, law: Any) -> dict[str, Any]:
    _sionna(law)
    table = json.loads(files("sionna.phy.channel.tr38901.models").joinpath(name).read_text(encoding="utf-8"))
    return dict(table)


def _sionna(law: Any) -> tuple[Any, Any]:
    """Return TensorFlow and Sionna's channel models.

    Raises:
        ImportError: One of them is missing; the message says how to get it.
    """
    try:
        from wirelesslab.tensorflow import tf  # first, as it silences TensorFlow's greeting

        from sionna.phy.channel import tr38901  # isort: skip
    except ImportError as missing:
        msg = (
            f"fading: {type(law).__name__} is drawn by Sionna 1.2 on TensorFlow, which cannot be imported ({missing}); "
            "pip install wirelesslab brings both, pip install 'sionna-no-rt>=1.2.2,<2' the one that is lacking"
        )
        raise ImportError(msg) from missing
    return tf, tr38901
