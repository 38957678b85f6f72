"""An event loop whose every choice is a seed's: which process runs next, when an answer arrives, when time passes.

Callbacks of one process run in the order in which asyncio would run them; processes, and whatever travels between them
and the outside, interleave as the dice say. Time stands still until it is made to go on. A process can be killed between
any two callbacks: nothing of it runs on, its doors (databases, broker, marketplace) are shut before its memory is let go.
"""

import asyncio
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any

_PRUNE = 512
_UNWINDINGS, _LONGEST_UNWINDING = 20, 20_000


class Process:
    """Something that lives and dies as one. `on_death` shuts its doors."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.gone = False
        self.doomed = False
        """It is to end as soon as the callback under way returns."""
        self.queue: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_death: list[Callable[[], None]] = []
        self.context = copy_context()
        self.context.run(OWNER.set, self)

    def keep(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.append(task)
        if len(self.tasks) > _PRUNE:
            self.tasks = [one for one in self.tasks if not one.done()]


OWNER: ContextVar[Process] = ContextVar("owner")


class Died(BaseException):
    """Raised where a process meets its end in the midst of a callback."""


class SimLoop(asyncio.AbstractEventLoop):
    """`world` is what never dies: the network, the broker, the marketplace."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.turns = 0
        self.world = Process("world")
        self.processes: list[Process] = [self.world]
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._serial = 0
        self._travelling: list[tuple[Process, Callable[[], None]]] = []
        self.faults: list[str] = []
        """What asyncio's exception handler was told of."""

    # what asyncio asks of a loop

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        owner = self._owner(handle)
        if not owner.gone:
            owner.queue.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        return None

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        (context.get(OWNER, self.world) if context is not None else OWNER.get(self.world)).keep(task)
        return task

    async def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Threads would be outside the dice: the work is done on the spot."""
        return func(*args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        if not isinstance(fault, Died | asyncio.CancelledError):
            self.faults.append(repr(fault or context.get("message")))

    # processes

    def spawn(self, name: str) -> Process:
        process = Process(name)
        self.processes.append(process)
        return process

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return self.create_task(work, context=process.context.copy())

    def shut(self, process: Process) -> None:
        """Its doors close: nothing it still does can be seen from outside. `bury` follows."""
        process.alive, process.doomed = False, True
        hooks, process.on_death = process.on_death, []
        for close in hooks:
            close()

    def kill(self, process: Process) -> None:
        """Between two of its callbacks."""
        self.shut(process)
        with self.inside():
            self._bury(process)

    def _bury(self, process: Process) -> None:
        """Its coroutines are unwound behind shut doors, so that none of them comes to life later."""
        process.frozen = False
        for _ in range(_UNWINDINGS):
            alive = [task for task in process.tasks if not task.done()]
            if not alive:
                break
            for task in alive:
                task.cancel()
            for _ in range(_LONGEST_UNWINDING):
                if not process.queue:
                    break
                self._run(process.queue.popleft())
        process.gone = True
        process.queue.clear()
        process.tasks = []
        self.processes.remove(process)

    # what travels

    def travel(self, arrive: Callable[[], None], owner: Process | None = None) -> None:
        """`arrive` is called at a moment the dice choose; not any more once its owner is dead."""
        self._travelling.append((owner or self.world, arrive))

    async def hop(self) -> None:
        """A moment of waiting for something outside the process."""
        future = self.create_future()
        self.travel(lambda: None if future.done() else future.set_result(None), OWNER.get(self.world))
        await future

    @property
    def travelling(self) -> int:
        return len(self._travelling)

    def _arrive(self) -> None:
        place = int(self.dice.random() * len(self._travelling))
        self._travelling[place], self._travelling[-1] = self._travelling[-1], self._travelling[place]
        owner, arrive = self._travelling.pop()
        if not owner.gone:
            arrive()

    # running

    def run(self, turns: int) -> int:
        """At most so many callbacks, in the order of the dice; fewer when nothing is ready. Answers how many."""
        done = 0
        with self.inside():
            self._fire()
            while done < turns and self._turn():
                done += 1
        self.turns += done
        return done

    @contextmanager
    def inside(self) -> Iterator[None]:
        """For what is called from outside and expects to run on a loop."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(before)

    def _turn(self) -> bool:
        ready = [p for p in self.processes if p.queue and not p.frozen]
        if self._travelling and (not ready or self.dice.random() < 0.25):
            self._arrive()
            return True
        if not ready:
            return False
        process = ready[0] if len(ready) == 1 else ready[int(self.dice.random() * len(ready))]
        self._run(process.queue.popleft())
        if process.doomed:
            self._bury(process)
        return True

    def _run(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:
            return
        try:
            handle._context.run(handle._callback, *handle._args)
        except Died:
            return
        except Exception as fault:
            self.faults.append(repr(fault))

    def jump(self, within: float) -> bool:
        """Time goes on to the next timer, if there is one within so many seconds."""
        while self._timers and (self._timers[0][2]._cancelled or self._owner(self._timers[0][2]).gone):
            heapq.heappop(self._timers)
        if not self._timers or self._timers[0][0] > self.now + within:
            return False
        self.now = max(self.now, self._timers[0][0])
        self._fire()
        return True

    def drain(self, process: Process) -> None:
        """This process alone, until it waits for something outside."""
        with self.inside():
            for _ in range(_LONGEST_UNWINDING):
                if not process.queue or process.doomed:
                    break
                self._run(process.queue.popleft())
            if process.doomed and not process.gone:
                self._bury(process)

    def _fire(self) -> None:
        """Timers whose time has come."""
        while self._timers and self._timers[0][0] <= self.now:
            handle = heapq.heappop(self._timers)[2]
            owner = self._owner(handle)
            if not handle._cancelled and not owner.gone:
                owner.queue.append(handle)

    def _owner(self, handle: asyncio.Handle) -> Process:
        return handle._context.get(OWNER, self.world)

    def finish(self, work: Coroutine[Any, Any, Any], process: Process, turns: int = 200_000) -> Any:
        """Runs until this one task of the process is done; time goes on where nothing else is left to do."""
        task = self.start(process, work)
        for _ in range(turns):
            if task.done():
                return task.result()
            if not self.run(1) and not self.jump(60.0):
                break
        task.cancel()
        raise RuntimeError(f"{process.name}: it does not come to an end")
