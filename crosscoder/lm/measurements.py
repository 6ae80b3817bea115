"""Measurements of a pair's models, each made once: sites and packings."""

from collections.abc import Sequence
from importlib.metadata import version

from crosscoder.core.sources import Sources
from crosscoder.lm.editing.partner import disable_edits
from crosscoder.lm.hooks import Hookpoint
from crosscoder.lm.layout import Packing
from crosscoder.lm.loading.sites import check_site
from crosscoder.lm.packing import Measured, choose_packing, measure_once
from crosscoder.lm.residency import LoadedModels


class Measurements:
    """Results of measurements, made again when the files of a model change.

    Args:
        models: The models of the pair.
    """

    def __init__(self, models: LoadedModels) -> None:
        self.models = models
        self._checked: set[tuple] = set()
        self._packings: dict[tuple, Packing] = {}

    def check_sites(self, lm: str, hookpoints: Sequence[Hookpoint]) -> None:
        """Refuse hookpoints that are not what their names say (see sites.py).

        Raises:
            UserError: With the hookpoint and what was measured.
        """
        for hookpoint in hookpoints:
            key = (lm, self.models.lms[lm].stamp(), hookpoint)
            if key not in self._checked:
                with disable_edits():
                    check_site(self.models.get(lm), hookpoint)
                self._checked.add(key)

    def choose_packing(self, sources: Sources, seq_len: int) -> Packing:
        """Choose how documents share rows of `seq_len` tokens so that none sees another.

        Raises:
            UserError: No packing is right for all models, or a hookpoint is not what its name says.
        """
        hookpoints: dict[str, list[Hookpoint]] = {}
        for source in sources:
            hookpoints.setdefault(source.lm, []).append(Hookpoint.parse(source.hookpoint))
        streams = tuple((source.lm, source.hookpoint) for source in sources)
        stamps = tuple(self.models.lms[lm].stamp() for lm in hookpoints)
        key = (streams, seq_len, stamps)
        if key not in self._packings:
            measured = {lm: self._measure(lm, read, seq_len) for lm, read in hookpoints.items()}
            self._packings[key] = choose_packing(measured)
        return self._packings[key]

    def _measure(self, lm: str, hookpoints: Sequence[Hookpoint], seq_len: int) -> Measured:
        # hookpoints and row length are not listed: measure_once adds them
        identity = [
            self.models.lms[lm].fingerprint(),
            str(self.models.compute_dtype),
            self.models.device.type,
            version("transformers"),
        ]
        return measure_once(lambda: self.models.get(lm), identity, hookpoints, seq_len)
