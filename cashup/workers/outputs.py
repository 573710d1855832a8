"""The notebook client: papermill's, with outputs that stay small and a record that tells the truth."""

from __future__ import annotations

from typing import Any

from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient

STREAM_CHARACTERS = 64 * 1024
"""A stream (stdout, stderr) of one cell keeps this many of its last characters."""

CELL_OUTPUTS = 100
"""A cell keeps this many of its last outputs beside the streams."""

_DROPPED = "… earlier output was dropped\n"


class BoundedClient(PapermillNotebookClient):  # type: ignore[misc]
    """Keeps the last outputs of a cell only, one output per stream, and marks the cell in which a kernel died."""

    def output(self, outs: list[Any], msg: Any, display_id: str | None, cell_index: int) -> Any:
        """Take one output message; returns the output as it came, for logging."""
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

    def _drop(self, outs: list[Any], cell_index: int) -> None:
        """Remove the oldest output that is no stream, and keep the places of in-place displays right."""
        index = next((i for i, out in enumerate(outs) if out.output_type != "stream"), 0)
        del outs[index]
        for places in self._display_id_map.values():
            if cell_index in places:
                places[cell_index] = [i - (i > index) for i in places[cell_index] if i != index]

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


def _tail(text: str) -> str:
    if len(text) <= STREAM_CHARACTERS:
        return text
    kept = text[-STREAM_CHARACTERS:]
    return _DROPPED + kept[kept.find("\n") + 1 :]
