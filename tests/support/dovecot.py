"""A Dovecot of our own: own folder, own port, one user; ended by its process id."""

import contextlib
import os
import pwd
import shutil
import tempfile
import time
from pathlib import Path

from tests.support.servers import NoService, Server, _spawn, answers, free_port, install, stop

USER, PASSWORD = "orders", "a-long-mail-password"
_READY = 60.0
_CONFIG = """
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/mail.log
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{folder}/mail
first_valid_uid = 1
passdb {{
  driver = static
  args = user={user} password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


def start_dovecot() -> Server:
    """Debian's, installed now where it is not there and we may. Raises NoService."""
    program = shutil.which("dovecot") or _installed()
    folder = Path(tempfile.mkdtemp(prefix="amends-dovecot-"))
    port, owner = free_port(), pwd.getpwnam("nobody")
    (folder / "mail").mkdir()
    os.chown(folder / "mail", owner.pw_uid, owner.pw_gid)
    folder.chmod(0o755)
    ours = {
        "folder": folder,
        "port": port,
        "user": USER,
        "password": PASSWORD,
        "uid": owner.pw_uid,
        "gid": owner.pw_gid,
    }
    config = folder / "dovecot.conf"
    config.write_text(_CONFIG.format(**ours))
    process = _spawn([program, "-F", "-c", str(config)], folder / "log")
    server = Server(f"imap://127.0.0.1:{port}", process.pid, str(folder))
    give_up = time.monotonic() + _READY
    while not answers("127.0.0.1", port):
        if process.poll() is not None or time.monotonic() > give_up:
            said = "".join(path.read_text(errors="replace")[-400:] for path in folder.glob("*log"))
            stop(server)
            raise NoService(f"a Dovecot of our own did not start: {said}")
        time.sleep(0.05)
    return server


def _installed() -> str:
    with contextlib.suppress(NoService):
        install("dovecot-imapd")
    found = shutil.which("dovecot")
    if found is None or os.geteuid() != 0:
        raise NoService("Dovecot is needed: install the package `dovecot-imapd`; it starts as root only")
    return found
