"""The notebook client: papermill's, with outputs that stay small, a log of them, and a record that tells the truth."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from jupyter_core.utils import run_sync
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient

from cashup.workers.log import Log
from cashup.workers.record import Record

STREAM_CHARACTERS = 64 * 1024
"""A stream (stdout, stderr) of one cell keeps this many of its last characters."""

CELL_OUTPUTS = 100
"""A cell keeps this many of its last outputs beside the streams."""

SAVE_SECONDS = 60.0
"""A record that changed is written this often while a cell runs."""

_TICK_SECONDS = 1.0
_DROPPED = "… earlier output was dropped\n"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class BoundedClient(PapermillNotebookClient):  # type: ignore[misc]
    """Keeps the last outputs of a cell only, one output per stream, and marks the cell in which a kernel died.

    With a `record` a file is closed at the end of each day, and the cell that runs begins the next one with what it
    shows in place. With `lines` every line of output is appended to that log.
    """

    def __init__(self, nb_man: Any, *, record: Record | None = None, lines: Log | None = None, **options: Any) -> None:
        self._record = record
        self._lines = lines
        self._changed = False
        self._saved_at = time.monotonic()
        super().__init__(nb_man, **options)
        if record is not None:
            # Saved here instead: a disk that is full must not end the reading of what the kernel says.
            nb_man.autosave_cell_every = 0
            self._name_file()

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Take one message of the kernel."""
        self._changed = True
        return super().process_message(msg, cell, cell_index)

    def output(self, outs: list[Any], msg: Any, display_id: str | None, cell_index: int) -> Any:
        """Take one output message; returns the output as it came, for logging."""
        self._log(msg)
        if msg["msg_type"] == "stream" and not self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            name, text = msg["content"]["name"], msg["content"]["text"]
            stream = next((out for out in outs if out.output_type == "stream" and out.name == name), None)
            if stream is not None and not self.clear_before_next_output:
                stream.text = _tail(stream.text + text)
                return type(stream)(output_type="stream", name=name, text=text)
        out = super().output(outs, msg, display_id, cell_index)
        while len(outs) > CELL_OUTPUTS:
            self._drop(outs, cell_index)
        return out

    def _log(self, msg: Any) -> None:
        if self._lines is None:
            return
        content = msg["content"]
        if msg["msg_type"] == "stream":
            self._lines.write(content["text"], content["name"])
        elif msg["msg_type"] == "error":
            text = "\n".join(content["traceback"]) or f"{content['ename']}: {content['evalue']}"
            self._lines.write(_COLOURS.sub("", text) + "\n", "error")

    def _drop(self, outs: list[Any], cell_index: int) -> None:
        """Remove the oldest output that is no stream, and keep the places of in-place displays right."""
        index = next((i for i, out in enumerate(outs) if out.output_type != "stream"), 0)
        del outs[index]
        kept = [i for i in range(len(outs) + 1) if i != index]
        self._move_displays(cell_index, {old: new for new, old in enumerate(kept)})

    def _move_displays(self, cell_index: int, moved: dict[int, int]) -> None:
        """Outputs of a cell have other places now; a display that has none any more is forgotten."""
        for display, places in list(self._display_id_map.items()):
            if cell_index in places:
                places[cell_index] = [moved[i] for i in places[cell_index] if i in moved]
            if not any(places.values()):
                del self._display_id_map[display]

    def papermill_execute_cells(self) -> None:
        """Execute cell by cell; the first that fails, or in which the kernel dies, is marked and is the last."""
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                return
            except DeadKernelError as error:
                # papermill itself would call this cell, and all that follow, completed.
                self.nb_man.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                raise
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)

    async def async_execute_cell(self, cell: Any, cell_index: int, *arguments: Any, **options: Any) -> Any:
        """Execute one cell; meanwhile the record is saved, and its day turned."""
        keeping = asyncio.ensure_future(self._keep(cell, cell_index))
        try:
            return await super().async_execute_cell(cell, cell_index, *arguments, **options)
        finally:
            keeping.cancel()

    execute_cell = run_sync(async_execute_cell)

    async def _keep(self, cell: Any, cell_index: int) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if (oom := getattr(self.km, "oom", None)) is not None:
                oom.look()
            if self._record is None:
                continue
            try:
                if self._record.due:
                    self._turn_the_day(self._record, cell, cell_index)
                elif self._changed and time.monotonic() - self._saved_at >= SAVE_SECONDS:
                    self._save()
            except OSError as error:
                self._saved_at = time.monotonic()
                if self._lines is not None:
                    self._lines.write(f"the record cannot be written ({error}); the strategy goes on\n", "worker")

    def _turn_the_day(self, record: Record, cell: Any, cell_index: int) -> None:
        """Close the day's file; the next one begins with what the cell shows in place, and nothing of its past.

        Everything here happens between two messages of the kernel, which notices nothing.
        """
        self._save()
        closed = record.path.name
        record.turn()
        shown = sorted({i for places in self._display_id_map.values() for i in places.get(cell_index, ())})
        cell.outputs[:] = [cell.outputs[i] for i in shown]
        self._move_displays(cell_index, {old: new for new, old in enumerate(shown)})
        self.nb.metadata.papermill["continues"] = closed
        self._name_file()
        self._save()

    def _name_file(self) -> None:
        if self._record is not None:
            self.nb.metadata.papermill["output_path"] = str(self._record.path)

    def _save(self) -> None:
        self._changed = False
        self.nb_man.save()
        self._saved_at = time.monotonic()


def _tail(text: str) -> str:
    if len(text) <= STREAM_CHARACTERS:
        return text
    kept = text[-STREAM_CHARACTERS:]
    return _DROPPED + kept[kept.find("\n") + 1 :]
