"""How much may be inside at once, and how fast one account may deliver: what is beyond is told to come again.

Everything here is counted in this process; replicas each keep their own. Nothing is charged to an account before a
delivery is proven genuine, so nobody can use up another's share.
"""

from services.intake.settings import Settings
from shared.clock import monotonic
from shared.errors import Unavailable
from shared.pace import Pace
from shared.ports import Account


class Limits:
    """`backlog`: rows that wait to be published, as last counted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.inside = 0
        """Requests that are not answered yet."""
        self.bytes = 0
        """What their bodies hold, or have said they will."""
        self.backlog = 0
        self._of_account: dict[str, int] = {}
        self._paces: dict[str, tuple[float, Pace]] = {}

    def take_in(self, size: int) -> None:
        """Room for a body of that many bytes, until `let_go`. Raises Unavailable."""
        if self.inside > self._settings.waiting_limit:
            raise Unavailable("too many deliveries are waiting")
        if self.bytes + size > self._settings.waiting_bytes:
            raise Unavailable("too many bytes are waiting")
        if self.backlog >= self._settings.unpublished_limit:
            raise Unavailable("too much waits to be published")
        self.bytes += size

    def let_go(self, size: int) -> None:
        self.bytes -= size

    def check_pace(self, account: Account) -> None:
        """Before its bytes are taken in. Raises Unavailable once the account's proven deliveries came too fast."""
        if not self._pace(account).available(monotonic()):
            raise Unavailable("this account delivers too fast")

    def enter(self, account: Account) -> None:
        """A proven delivery on its way into the store, until `leave`. Raises Unavailable."""
        waiting = self._of_account.get(account.id, 0)
        if waiting >= self._settings.waiting_per_account:
            raise Unavailable("too many deliveries of this account are waiting")
        self._pace(account).take(1)
        self._of_account[account.id] = waiting + 1

    def leave(self, account: Account) -> None:
        left = self._of_account[account.id] - 1
        if left:
            self._of_account[account.id] = left
        else:
            del self._of_account[account.id]

    def _pace(self, account: Account) -> Pace:
        """Anew when the account's rate was changed."""
        rate = float(account.settings.get("deliveries_per_second") or self._settings.deliveries_per_second)
        known = self._paces.get(account.id)
        if known is None or known[0] != rate:
            known = self._paces[account.id] = (rate, Pace(rate, monotonic()))
        return known[1]
