"""Makes the virtual environment on a machine that has python3 and little else. Usage: python3 tools/venv.py FOLDER

Runs before anything is installed, on whatever Python there is (3.7 on), so that it can say clearly what is wrong.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)


def main(folder: str) -> str | None:
    """What to tell the person; None when it is made."""
    if sys.version_info < OLDEST:
        have = ".".join(map(str, sys.version_info[:2]))
        return (
            f"amends needs Python 3.11 or newer, {sys.executable} is {have}: name another, make PYTHON=python3.12 ..."
        )
    if not made(folder) and not (installed_venv() and made(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        return "this Python cannot make a virtual environment: apt-get install python3-venv"
    return None


def made(folder: str) -> bool:
    return quietly([sys.executable, "-m", "venv", "--clear", folder])


def installed_venv() -> bool:
    """Debian keeps venv in a package of its own; root may fetch it."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return False
    print("installing python3-venv (once)")
    quietly([apt, "-qq", "update"])
    packages = ["python3-venv", "python{}.{}-venv".format(*sys.version_info[:2])]
    return any(quietly([apt, "-qq", "install", "-y", "--no-install-recommends", name]) for name in packages)


def quietly(command: list[str]) -> bool:
    environ = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    done = subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
