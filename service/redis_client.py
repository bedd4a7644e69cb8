"""Redis connections: client options, TLS settings, error descriptions."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TLS = "rediss://"


def connect(url: str, timeout_s: float, *, health_check_s: int = 0) -> redis.Redis:
    """A client without retries and with timeouts. Connects on first use.

    Certificates are read at each new connection, so renewed ones need no restart.

    Args:
        url: As ``Settings.redis_address`` gives it.
        timeout_s: Timeout in seconds of connecting and of each reply.
        health_check_s: Idle seconds after which a connection is checked before use; 0 disables it.
    """
    network: dict[str, bool] = {} if url.startswith("unix://") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=health_check_s,
        **network,
    )


def with_tls(url: str, *, ca: Path | None, certificate: Path | None, key: Path | None, check_hostname: bool) -> str:
    """A Redis URL with TLS options as query parameters, understood by every Redis library.

    Args:
        url: ``rediss://…``; other URLs are returned unchanged.
        ca: PEM file of the authorities to trust; None trusts those of the system.
        certificate: PEM file of the client's certificate.
        key: PEM file of its key, where that is not in the same file.
        check_hostname: Whether the certificate must be for the host of the address.
    """
    if not url.startswith(TLS):
        return url
    files = {"ssl_ca_certs": ca, "ssl_certfile": certificate, "ssl_keyfile": key}
    options = {name: str(path) for name, path in files.items() if path is not None}
    # Said in words because older clients do not check the name by default.
    options["ssl_check_hostname"] = str(check_hostname).lower()
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode({**options, **dict(parse_qsl(parts.query))})))


def check_pem(path: Path, *, key: Path | None = None, authorities: bool = False) -> None:
    """Validate a PEM file at start-up.

    Args:
        path: The file.
        key: The file of the key that belongs to the certificate in ``path``.
        authorities: The file holds certificates to trust, not one to show.

    Raises:
        ValueError: The file cannot be read or has the wrong content.
    """
    for file in filter(None, (path, key)):
        try:
            file.read_bytes()
        except OSError as error:  # noqa: PERF203  # two files
            raise ValueError(f"{file} cannot be read ({error.strerror})") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if authorities:
            context.load_verify_locations(path)
        else:
            context.load_cert_chain(path, key, password=lambda: "")  # else OpenSSL would ask at the terminal
    except (ssl.SSLError, ValueError) as error:
        what = "no certificates in PEM format" if authorities else "no certificate in PEM format with its plain key"
        beside = f" with {key}" if key else ""
        raise ValueError(f"{path}{beside} holds {what} ({getattr(error, 'reason', None) or error})") from None


def describe_error(error: BaseException) -> str:
    """Describe a Redis error for the operator, without the password."""
    said = str(error)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
    if "CERTIFICATE_REQUIRED" in said or "HANDSHAKE_FAILURE" in said:
        return "it wants a client certificate: set SKELETON_PROMPT_REDIS_CERT_FILE and SKELETON_PROMPT_REDIS_KEY_FILE"
    if "UNKNOWN_CA" in said:
        return "it does not accept the client certificate of SKELETON_PROMPT_REDIS_CERT_FILE"
    if "WRONG_VERSION_NUMBER" in said or "RECORD_LAYER_FAILURE" in said:
        return "it does not speak TLS on this port: use redis:// or the port of TLS"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return f"its ACL refuses: {said}"
    if isinstance(error, redis.AuthenticationError):
        return "it does not accept the user and password of SKELETON_PROMPT_REDIS_URL"
    return said or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
