"""How events are split: one file per split, all of them a re-timing of the events (see `base`)."""

from xrec.data.split.temporal import TemporalSplit

__all__ = ["TemporalSplit"]
