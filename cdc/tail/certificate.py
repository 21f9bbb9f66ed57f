"""What it means that a server's certificate is not accepted, whatever its engine."""

from ...schemas.errors import Refused


def unproven(reason: str, *, what: str, where: str, option: str) -> Refused:
    """The error of a server that does not prove who it is.

    Args:
        reason: Why, as OpenSSL says it; empty where that is not known.
        what: What was to be reached.
        where: Where its address is written.
        option: What the address says to name a file with the certificate of a CA.
    """
    hint = f"add {option}=FILE with the certificate of its CA to {where}"
    if "expired" in reason:
        hint = "renew it on the server"
    elif "match" in reason:
        hint = f"write a host name into {where} that the certificate has"
    return Refused(
        f"{what} may be another one: its certificate is not accepted{reason and ': '}{reason}",
        hint=hint,
    )
