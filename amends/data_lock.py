"""One process at a time owns a data directory."""

import fcntl
from pathlib import Path
from typing import IO

from shared.errors import ConfigurationError


class DataLock:
    """One process at a time owns a data directory: two on one SQLite file would each hold a writer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / "lock").open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.__exit__()
            raise ConfigurationError([f"{self._folder}: another amends is running on this data directory"]) from None
        except OSError as fault:
            raise ConfigurationError([f"{self._folder}: {fault.strerror}"]) from fault

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
