"""What is put under load, and what counts as a good answer from it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, replace
from urllib.parse import urlsplit, urlunsplit

from pytest_inferbench.errors import ValidationError

__all__ = ["ResponseCheck", "Target"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCheck:
    """What an answer must be to count as good; everything is plain data, so that it crosses a process boundary.

    ``statuses``: the good statuses (``None``: 200 to 399). ``contains``: text that the body must contain.
    ``function``: ``"package.module:name"`` of a callable ``(status: int, body: bytes) -> bool`` that the generator's
    process imports; it must be quick, for the time it takes is seen as issue delay of later requests.
    """

    statuses: tuple[int, ...] | None = None
    contains: str | None = None
    function: str | None = None

    def __post_init__(self) -> None:
        if self.statuses is not None:
            object.__setattr__(self, "statuses", tuple(self.statuses))
            for status in self.statuses:
                if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
                    raise ValidationError(f"ResponseCheck.statuses must be HTTP statuses (100 to 599), got {status!r}")
        if self.contains is not None and not isinstance(self.contains, str):
            raise ValidationError(f"ResponseCheck.contains must be text, got {self.contains!r}")
        if self.function is not None and not (isinstance(self.function, str) and _FUNCTION.fullmatch(self.function)):
            raise ValidationError(
                f'ResponseCheck.function must be written "package.module:name", got {self.function!r}'
            )


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """An HTTP endpoint. ``url`` is absolute, or a path (``"/classify"``) that :meth:`at` joins to a base URL.

    ``timeout``: seconds per request, counted from its issue. ``keep_alive=False`` opens a connection per request.
    ``max_connections``: at most so many at once; waiting for one is service time. ``None``: no limit, as for
    independent users. ``ca_file``: a PEM file to trust instead of the system's; ``insecure=True`` trusts anyone.
    Proxy environment variables are ignored and redirects are not followed: what answers is what is measured.

    A repr never shows header values or credentials in the URL.
    """

    url: str
    _: KW_ONLY
    method: str = "POST"
    headers: Mapping[str, str] | None = None
    timeout: float = 60.0
    keep_alive: bool = True
    max_connections: int | None = None
    ca_file: str | None = None
    insecure: bool = False
    check: ResponseCheck | None = None

    def __post_init__(self) -> None:
        _validate_url(self.url)
        if not isinstance(self.method, str) or not _TOKEN.fullmatch(self.method):
            raise ValidationError(f"Target.method must be an HTTP method such as 'POST', got {self.method!r}")
        object.__setattr__(self, "method", self.method.upper())
        if self.headers is not None:
            _validate_headers(self.headers)
            object.__setattr__(self, "headers", dict(self.headers))  # ours: the caller's may change later
        timeout = self.timeout
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
            raise ValidationError(f"Target.timeout must be a finite number of seconds above zero, got {timeout!r}")
        limit = self.max_connections
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValidationError(f"Target.max_connections must be a whole number above zero or None, got {limit!r}")
        if self.insecure and self.ca_file is not None:
            raise ValidationError("Target: ca_file and insecure=True contradict each other; drop one of them")

    def at(self, base_url: str) -> Target:
        """Return this target with a path resolved against ``base_url``; an absolute URL stays as it is.

        The path is appended to the base's own path: ``/classify`` at ``http://host/api`` is ``http://host/api/classify``.
        """
        if self.is_absolute:
            return self
        base = urlsplit(base_url)
        if base.scheme not in ("http", "https") or not base.hostname or base.query or base.fragment:
            raise ValidationError(f"base URL must look like http://host:port, got {_without_secrets(base_url)!r}")
        return replace(self, url=base_url.rstrip("/") + self.url)

    @property
    def digest(self) -> str:
        """What tells two targets apart, secrets included, without showing any: 64 hexadecimal digits."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()

    @property
    def is_absolute(self) -> bool:
        """Whether the URL names a host, so that it can be driven."""
        return not self.url.startswith("/")

    def __repr__(self) -> str:
        parts = [repr(_without_secrets(self.url)), f"method={self.method!r}"]
        if self.headers:
            parts.append(f"headers=<{', '.join(self.headers)}: values hidden>")
        parts.append(f"timeout={self.timeout!r}")
        defaults: dict[str, object] = {
            "keep_alive": True,
            "max_connections": None,
            "ca_file": None,
            "insecure": False,
            "check": None,
        }
        parts += [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]
        return f"Target({', '.join(parts)})"


def _validate_url(url: str) -> None:
    if not isinstance(url, str) or not url:
        raise ValidationError(f"Target.url must be an absolute URL or a path such as '/classify', got {url!r}")
    shown = _without_secrets(url)
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise ValidationError(f"Target.url must not contain white space or control characters, got {shown!r}")
    if url.startswith("/") and not url.startswith("//"):
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"Target.url {shown!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValidationError(
            f"Target.url must be http://host[:port]/path, https://... or a path such as '/classify', got {shown!r}"
        )


def _validate_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValidationError(f"Target.headers: {name!r} is not a header name")
        # The value stays out of the message: it may be a bearer token.
        if not isinstance(value, str) or any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value):
            raise ValidationError(f"Target.headers[{name!r}] must be text without line breaks or control characters")


def _without_secrets(url: str) -> str:
    """Return the URL with the credentials before the host hidden."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//[^/@]*@", "//***@", url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
