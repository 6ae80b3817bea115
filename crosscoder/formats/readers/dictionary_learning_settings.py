"""Read dictionary_learning's configurations, which differ between its generations.

    run folder        config.json            {"trainer": …}: the settings of the run
    hub               config.json            the constructor arguments of the class at upload
                      trainer_config.json    {"trainer": …}: the settings of the run
    save_pretrained   config.json            the arguments, with dict_class since February 2026

`trainer` says what was trained and takes precedence over the arguments: uploads rebuild the class
from the weights alone, so values that the weights do not hold, such as the alphas of MIXED, have
their defaults among the arguments.

    code_normalization, code_normalization_alpha_{sae, cc}
        since May 2025; the name is also stored as an id among the tensors
    sparsity_loss_type, sparsity_loss_alpha_{sae, cc}
        before, in the words of an enum: "LossType.SAE" or "SAE"
    layer, submodule_name
        where the activations come from
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosscoder.errors import UserError
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import is_named, parse_submodule
from crosscoder.formats.model_sources import guess_role
from crosscoder.formats.settings import format_value, read_setting

SUM = 1
ROOT = 2
MIXED = 3
NONE = 4
DECOUPLED = 5
NORMALIZATION_IDS = {
    "CROSSCODER": SUM,
    "SAE": ROOT,
    "MIXED": MIXED,
    "NONE": NONE,
    "DECOUPLED": DECOUPLED,
}
NORMALIZATION_KEYS = ("code_normalization", "sparsity_loss_type")
DEFAULT_ALPHAS = {"sae": 1.0, "cc": 0.1}  # defaults of the library's class


@dataclass(frozen=True)
class Settings:
    """Configurations of one folder.

    Args:
        arguments: Content of config.json: constructor arguments, or the settings of a run.
        trainer: Settings of the run, empty if there are none.
        where: Folder, for messages.
    """

    arguments: Mapping[str, Any]
    trainer: Mapping[str, Any]
    where: str

    @classmethod
    def from_folder(cls, folder: Folder) -> "Settings":
        """Read a folder's configurations."""
        arguments = folder.read_json("config.json") if folder.has_file("config.json") else {}
        trainer: Any = arguments.get("trainer")
        if folder.has_file("trainer_config.json"):
            uploaded = folder.read_json("trainer_config.json")
            trainer = uploaded.get("trainer", uploaded)
        if not isinstance(trainer, dict):
            trainer = {}
        return cls(arguments, trainer, str(folder.path))

    @property
    def dict_class(self) -> Any:
        """Return the name of the class, if a configuration has one."""
        return self.trainer.get("dict_class") or self.arguments.get("dict_class")

    def find_code_normalization(self, stored: int | None, is_selecting: bool) -> int:
        """Return the code normalisation; the default is the sum of norms, as in the library.

        Args:
            stored: Id among the tensors, if there is one.
            is_selecting: True if the code is selected by a threshold on normalised values.
                Otherwise the normalisation influenced only the training loss.

        Raises:
            UserError: It is unknown, or tensors and configurations disagree about it.
        """
        if stored is not None and stored not in NORMALIZATION_IDS.values():
            raise UserError(
                f"{self.where}: unknown code normalisation {stored}; known are {NORMALIZATION_IDS}"
            )
        named = self._read_code_normalizations()
        ids = set(named.values())
        if stored is not None:
            ids.add(stored)
        if len(ids) > 1 and is_selecting:
            raise UserError(self._describe_conflict(stored, named))
        if named:
            return next(iter(named.values()))
        return SUM if stored is None else stored

    def find_alpha(self, term: str) -> float:
        """Return the weight of a term of MIXED, `sae` or `cc`; the run precedes the arguments."""
        from_arguments = self._read_alpha(self.arguments, "config.json", term)
        from_run = self._read_alpha(self.trainer, "trainer", term)
        for alpha in (from_run, from_arguments):
            if alpha is not None:
                return alpha
        return DEFAULT_ALPHAS[term]

    def split_model_names(self) -> list[str]:
        """Split `<chat>-<base>` into [base, chat], where chat is base with a suffix; else []."""
        both = self.trainer.get("lm_name")
        if not isinstance(both, str):
            return []
        for position, letter in enumerate(both):
            if letter != "-":
                continue
            chat = both[:position]
            base = both[position + 1 :]
            is_suffixed = bool(base) and chat.startswith(base) and chat != base
            if is_suffixed and guess_role(chat) == "chat":
                return [base, chat]
        return []

    def _read_code_normalizations(self) -> dict[str, int]:
        """Return code normalisations by the setting that names them, those of the run first."""
        named = {}
        for place, settings in (("trainer", self.trainer), ("config.json", self.arguments)):
            for key in NORMALIZATION_KEYS:
                name = settings.get(key)
                if isinstance(name, str):
                    named[f"{key} of {place}"] = self._parse_code_normalization(key, name)
        return named

    def _parse_code_normalization(self, key: str, name: str) -> int:
        if key == "sparsity_loss_type" and name == "None":  # Python's None, which meant the sum
            return SUM
        word = name.split(".")[-1].upper()
        if word not in NORMALIZATION_IDS:
            known = ", ".join(NORMALIZATION_IDS)
            raise UserError(f"{self.where}: {key} is {format_value(name)}; readable are {known}")
        return NORMALIZATION_IDS[word]

    def _describe_conflict(self, stored: int | None, named: Mapping[str, int]) -> str:
        """Describe two code normalisations: packages that met no id took the sum and stored it."""
        values = [f"code_normalization_id = {stored}"] if stored is not None else []
        values += [f"{place} = {number}" for place, number in named.items()]
        return (
            f"{self.where}: the code normalisation has two values ({', '.join(values)}), "
            "and its threshold fits only one of them; correct the wrong one. "
            f"Known are {NORMALIZATION_IDS}"
        )

    def _read_alpha(self, settings: Mapping[str, Any], place: str, term: str) -> float | None:
        for key in (f"code_normalization_alpha_{term}", f"sparsity_loss_alpha_{term}"):
            value = read_setting(settings, key, (int, float), f"{self.where}: {place}", None)
            if value is not None:
                return float(value)
        return None


def read_hookpoint(trainer: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the hookpoint of a trainer's settings, and notes about it for the provenance.

    A `submodule_name` decides. Without one the layer's output is meant, which is what the library's
    own scripts read.
    """
    layer = trainer.get("layer")
    name = trainer.get("submodule_name")
    known_layer = layer if type(layer) is int and layer >= 0 else None
    if isinstance(name, str) and name:
        place = parse_submodule(name, known_layer)
        notes: dict[str, Any] = {"submodule_name": name}
        if known_layer is not None and is_named(place) and not place.endswith(f".{known_layer}"):
            notes["layer"] = known_layer  # it disagrees with the name, which decides
        return place, notes
    if known_layer is None:
        return "", {}
    return f"resid_post.{known_layer}", {"submodule_name": None}
