"""What the server logs, for tests to look at."""

from __future__ import annotations

import logging


class Records(logging.Handler):
    """Collects the messages of the server's loggers, which do not propagate to where caplog listens."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def text(self) -> str:
        return "\n".join(record.getMessage() for record in self.records)
