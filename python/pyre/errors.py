"""The exceptions that the package raises itself, and the exit codes that the command turns them into."""

from __future__ import annotations

EXIT_USAGE = 2
"""A wrong or unknown flag, or one whose feature is not built yet."""
EXIT_STARTUP_FAILURE = 3
"""The lifespan start-up failed, or a socket could not be bound."""
EXIT_APP_LOAD_FAILURE = 4
"""The application could not be imported or made."""


class ConfigError(ValueError):
    """An option has a value that cannot be used. The message is a full sentence for the user."""


class NotBuiltError(ConfigError):
    """An option asks for a feature that Pyre does not have yet, or that this system does not have. It is refused, never
    ignored."""


class AppLoadError(Exception):
    """The application cannot be loaded. `__cause__` is the exception that the application's own code raised, if any."""


class BindError(OSError):
    """A listening socket cannot be made. The message names the address."""
