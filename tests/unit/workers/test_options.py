"""The options of a kernel's command line that need no parser."""

from __future__ import annotations

from cashup.workers.kernel import plain_options


def test_a_file_and_traits_are_taken_by_class_and_name() -> None:
    words = ["-f", "/tmp/k.json", "--IPKernelApp.parent_handle=1", "--HistoryManager.enabled=False"]
    assert plain_options(words) == {
        "IPKernelApp": {"connection_file": "/tmp/k.json", "parent_handle": "1"},
        "HistoryManager": {"enabled": "False"},
    }


def test_anything_else_is_left_to_the_parser() -> None:
    for words in (["--transport=ipc"], ["-f"], ["--debug"], ["--matplotlib", "inline"], ["-f", "a", "b"]):
        assert plain_options(words) is None
