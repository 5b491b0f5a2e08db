"""The units of what a run reports, and the names that 3GPP gives to the same things.

A name in TS 28.552 (counters) or TS 28.554 (end-to-end KPIs) says which of theirs is nearest to our figure, not that
the two are equal: ours count both directions, and flows of the graph that cross no radio. The names are as we
recall them: check them against the specification before exchanging figures with a real network.
"""

# name -> (units, name of the 3GPP counter or KPI, "" where there is none)
KPI: dict[str, tuple[str, str]] = {
    "offered_flows": ("flows", ""),
    "offered_bytes": ("byte", ""),
    "delivered_flows": ("flows", ""),
    "delivered_bytes": ("byte", "DRB.PdcpSduVolumeDL (TS 28.552, 5.1.2.1), summed over the run"),
    "lost_flows": ("flows", ""),
    "lost_bytes": ("byte", ""),
    "late_flows": ("flows", ""),
    "overdue_flows": ("flows", ""),
    "refused_flows": ("flows", ""),
    "late_share": ("1", ""),
    "inside_bytes": ("byte", ""),
    "mean_delay_s": ("s", "average end-to-end downlink delay (TS 28.554, 6.3), user plane from source to sink"),
    "delay_s": ("s", "distribution of the same delay"),
    "delivered_bps": ("bit/s", "throughput of a network slice (TS 28.554, 6.3)"),
    "offered_bps": ("bit/s", ""),
    "promised_delay_s": ("s", "ServiceProfile dLLatency (TS 28.541)"),
    "promised_quantile": ("1", ""),
    "used_ratio": ("1", "RRU.PrbTotDl (TS 28.552, 5.1.1.2), as a fraction, per S-NSSAI"),
}
