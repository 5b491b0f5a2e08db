"""Network slices: who they are, what was promised, and which share of each resource is theirs."""

from dataclasses import dataclass, field
from typing import Literal

from wirelesslab import check

Domain = Literal["radio", "transport", "compute"]
DOMAINS: tuple[Domain, ...] = ("radio", "transport", "compute")


@dataclass(frozen=True, order=True)
class SNssai:
    """Identity of a slice: slice/service type and, if the operator needs it, a differentiator.

    Attributes:
        sst: 8 bits; 1 eMBB, 2 URLLC, 3 MIoT, 4 V2X, 5 HMTC, from 128 on the operator's own.
        sd: 24 bits; None means none (FFFFFF on the wire).

    References:
        3GPP TS 23.501, 5.15.2.

    Examples:
        >>> str(SNssai(1)), str(SNssai(2, 10))
        ('1', '2-00000A')
    """

    sst: int
    sd: int | None = None

    def __post_init__(self) -> None:
        check.non_negative_integer(sst=self.sst)
        check.within(0, 255, sst=self.sst)
        if self.sd is not None:
            check.non_negative_integer(sd=self.sd)
            check.within(0, 0xFFFFFE, sd=self.sd)

    def __str__(self) -> str:
        return str(self.sst) if self.sd is None else f"{self.sst}-{self.sd:06X}"


@dataclass(frozen=True, kw_only=True)
class ServiceLevel:
    """What a slice promises: the service profile, as far as the simulator measures it.

    Attributes:
        delay_s: The delay that `delay_quantile` of the traffic may not exceed; None promises none.
        delay_quantile: See `delay_s`.
        rate_bps: Rate that the slice as a whole can count on; None promises none.
        loss: Largest share of offered bytes that may be lost; None promises none.

    References:
        The ServiceProfile of 3GPP TS 28.541, 6.3.3.
    """

    delay_s: float | None = None
    delay_quantile: float = 0.99
    rate_bps: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        for name in ("delay_s", "rate_bps"):
            if getattr(self, name) is not None:
                check.positive(**{name: getattr(self, name)})
        check.probability(delay_quantile=self.delay_quantile)
        if self.loss is not None:
            check.probability(loss=self.loss)


@dataclass(frozen=True, kw_only=True)
class ResourceRatio:
    """A slice's share of a resource: the triple of RRMPolicyRatio, as fractions instead of percent.

    Attributes:
        dedicated: Kept for this slice alone, idle or not.
        min: Guaranteed when the slice asks for it, the dedicated part included; others may use what
            is guaranteed but not asked for.
        max: Never exceeded.

    References:
        3GPP TS 28.541, RRMPolicyRatio: rRMPolicyDedicatedRatio <= rRMPolicyMinRatio <= rRMPolicyMaxRatio.
    """

    dedicated: float = 0.0
    min: float = 0.0
    max: float = 1.0

    def __post_init__(self) -> None:
        check.within(0, 1, dedicated=self.dedicated, min=self.min, max=self.max)
        if not self.dedicated <= self.min <= self.max:
            msg = (
                f"ratio: got dedicated={self.dedicated}, min={self.min}, max={self.max}, "
                "expected dedicated <= min <= max; what is dedicated is guaranteed too: write it as min as well"
            )
            raise ValueError(msg)

    @classmethod
    def isolated(cls, share: float) -> "ResourceRatio":
        """Return a share of one's own that is neither lent nor exceeded."""
        return cls(dedicated=share, min=share, max=share)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice: identity, promise, and shares of radio, transport and compute.

    Attributes:
        name: Short, unique in a network; names its track, its records and its lines in tables.
        snssai: Its identity.
        level: What it promises.
        radio: Its share of each cell's radio resource.
        transport: Its share of each link.
        compute: Its share of each server.
        weight: Of weighted schedulers, beside other slices.
        priority: Of priority schedulers; smaller is served first.
    """

    name: str
    snssai: SNssai
    level: ServiceLevel = field(default_factory=ServiceLevel)
    radio: ResourceRatio = field(default_factory=ResourceRatio)
    transport: ResourceRatio = field(default_factory=ResourceRatio)
    compute: ResourceRatio = field(default_factory=ResourceRatio)
    weight: float = 1.0
    priority: int = 10

    def __post_init__(self) -> None:
        if not self.name or not self.name.isidentifier():
            msg = f"name: got {self.name!r}, expected a word of letters, digits and underscores such as 'embb'"
            raise ValueError(msg)
        wanted = (("snssai", SNssai), ("level", ServiceLevel), *((domain, ResourceRatio) for domain in DOMAINS))
        for field_name, kind in wanted:
            value = getattr(self, field_name)
            if not isinstance(value, kind):
                msg = f"{field_name}: got {value!r}, expected a {kind.__name__}"
                raise TypeError(msg)
        check.positive(weight=self.weight)
        check.non_negative_integer(priority=self.priority)

    def ratio(self, domain: Domain) -> ResourceRatio:
        """Return the share of a domain."""
        check.one_of(DOMAINS, domain=domain)
        return {"radio": self.radio, "transport": self.transport, "compute": self.compute}[domain]


def check_slices(slices: tuple[Slice, ...]) -> None:
    """Refuse slices whose names or identities clash, or whose guaranteed shares exceed a resource.

    Raises:
        ValueError: Two slices share a name or an S-NSSAI, or the `min` shares of a domain add up to more than 1.
    """
    names = [s.name for s in slices]
    for what, values in (("name", names), ("S-NSSAI", [str(s.snssai) for s in slices])):
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            msg = f"slices: got the {what} {', '.join(twice)} twice, expected each once"
            raise ValueError(msg)
    for domain in DOMAINS:
        shares = {s.name: s.ratio(domain).min for s in slices}
        if sum(shares.values()) > 1 + 1e-9:
            msg = (
                f"slices: {domain} shares (min) sum to {sum(shares.values()):g}, expected at most 1; "
                f"lower one of {shares}"
            )
            raise ValueError(msg)


EMBB = Slice(name="embb", snssai=SNssai(1), level=ServiceLevel(delay_s=0.1, rate_bps=10e6), weight=2, priority=20)
URLLC = Slice(name="urllc", snssai=SNssai(2), level=ServiceLevel(delay_s=0.01, delay_quantile=0.999), priority=1)
MIOT = Slice(name="miot", snssai=SNssai(3), level=ServiceLevel(delay_s=10.0, loss=0.01), priority=30)
V2X = Slice(name="v2x", snssai=SNssai(4), level=ServiceLevel(delay_s=0.02, delay_quantile=0.999), priority=2)
