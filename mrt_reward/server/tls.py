"""HTTPS, where the settings ask for it."""

from __future__ import annotations

import ssl

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError


def tls_context(settings: ServeSettings) -> ssl.SSLContext | None:
    """What both ports encrypt with, TLS 1.2 or newer; None where they speak plain HTTP.

    The files are read once: a renewed certificate is served after a restart.

    Raises:
        ConfigError: a file is missing, cannot be read, or does not go with another.

    """
    cert, key, client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    for given, needed, name in ((key or client_ca, cert, "tls_cert"), (cert, key, "tls_key")):
        if given is not None and needed is None:
            raise ConfigError(f"HTTPS needs tls_cert and tls_key, and {name} is not given: set both", param=name)
    if cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An empty password, because otherwise a terminal would be asked for one.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:
        raise ConfigError(
            f"tls_cert {cert} and tls_key {key} cannot be used ({error}): give a PEM certificate and its own private "
            "key, without a password, that this user may read",
            param="tls_cert",
        ) from error
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise ConfigError(
                f"tls_client_ca {client_ca} cannot be used ({error}): give the PEM certificates of the authorities "
                "that sign callers' certificates",
                param="tls_client_ca",
            ) from error
    return context
