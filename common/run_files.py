"""What a run directory is known by, for all who are given one: the settings that `rookery up` keeps in it.

One of services that were started otherwise keeps none; who looks back at it is given the services' file. Names of
files in it that several packages read are here, too.
"""

import difflib
from pathlib import Path

from common.errors import RunDirectoryError, SettingsError
from common.settings import Settings, read_file, resolve

SETTINGS_FILE = "settings.toml"
"""What makes a directory a run directory."""
EVALUATION_FILE = "evaluation.json"
"""The report card that `rookery evaluate` leaves in it."""
WEIGHTS_FILE = "weights.safetensors"
"""The latest weights of an agent, in its directory."""
MANIFEST_FILE = "manifest.json"
"""What a checkpoint is, in the checkpoint's directory."""


def is_run(directory: Path) -> bool:
    """Whether `directory` is a run's."""
    return (directory / SETTINGS_FILE).is_file()


def settings_of(directory: Path) -> Settings:
    """Return the settings of the run in `directory`.

    Raises RunDirectoryError, which names what may have been meant, if there is none or it is another release's.
    """
    if not directory.is_dir():
        what = "not a directory" if directory.exists() else "no such directory"
        raise RunDirectoryError(f"{directory}: {what}{_near(directory)}")
    if not is_run(directory):
        above = [parent for parent in directory.absolute().parents if is_run(parent)]
        hint = f"; did you mean {above[0]}?" if above else "; name the --run of a `rookery up`"
        raise RunDirectoryError(f"{directory}: not a run directory, for it holds no {SETTINGS_FILE}{hint}")
    try:
        return read_file(directory / SETTINGS_FILE)
    except SettingsError as error:
        raise RunDirectoryError(f"{error}; is that a run directory of another release?") from error


def settings_of_run(directory: Path, settings_file: Path | None) -> Settings:
    """Return the settings of the run in `directory`; where it keeps none, those in `settings_file`.

    Raises RunDirectoryError, which names --settings, where neither is there, and SettingsError for a mistake.
    """
    if not directory.is_dir() or is_run(directory):
        return settings_of(directory)
    if settings_file is None:
        try:
            return settings_of(directory)
        except RunDirectoryError as error:
            raise RunDirectoryError(f"{error}, or give the settings file of the services by --settings") from None
    return resolve(settings_file, {"run": str(directory)})


def _near(directory: Path) -> str:
    try:
        names = [entry.name for entry in directory.absolute().parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(directory.name, names, n=1)
    return f"; did you mean {directory.with_name(near[0])}?" if near else ""
