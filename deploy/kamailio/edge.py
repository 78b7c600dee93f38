"""Starts Kamailio as a pool's SIP edge, with settings from the environment written as it wants them.

``edge.py`` starts it, ``edge.py check`` exits 1 if it doesn't answer. Needs nothing but Python.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contract.sdp import LINES, ORIGIN

_HERE: Final = Path(__file__).parent
_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_PAGE: Final = _HERE / "page"
_PAGES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/chat.css": ("chat.css", "text/css; charset=utf-8"),
    "/chat.js": ("chat.js", "text/javascript; charset=utf-8"),
}
"""The chat page: where Kamailio serves a file, and its type. The image has it, built (``Dockerfile``)."""
# No blank, written as one or escaped.
_URI: Final = "(sips?|tel):([]a-z0-9!#$&'()*+,./:;=_~@[-]|%([2-9a-f][1-9a-f]|[3-9a-f]0))+"
_TAG: Final = "[a-z0-9.!%*_+~-]{1,255}"
_PARAMETER: Final = " ?; ?[a-z0-9.!%*_+~-]{1,64}(=[][a-z0-9.!%*_+~:-]{1,255})?"
_VIA: Final = f"SIP ?/ ?2[.]0 ?/ ?(UDP|TCP|TLS|WSS?|SCTP) +[][a-z0-9.:-]{{1,255}}({_PARAMETER})*"
_METHODS: Final = (
    "INVITE|ACK|BYE|CANCEL|OPTIONS|MESSAGE|INFO|UPDATE|PRACK|REFER|NOTIFY|SUBSCRIBE|PUBLISH|REGISTER"
)
_OPTIONS: Final = (
    "100rel|answermode|early-session|eventlist|from-change|gruu|histinfo|ice|join|multiple-refer|norefersub|nosub|"
    "outbound|path|policy|precondition|pref|privacy|recipient-list-(invite|message|subscribe)|replaces|"
    "resource-priority|sdp-anat|sec-agree|siprec|tdialog|timer|trickle-ice|uui|gruu-10|msrtc-event-categories|"
    "ms-(forking|early-media|safe-transfer|sender|delayed-accept|conf-invite|dialog-route-set-update)"
)
_PLAIN: Final = (
    f"allow:({_METHODS}|,| )*",
    f"(k|supported|require|proxy-require|unsupported):({_OPTIONS}|,| )*",
    "(x|session-expires):[0-9]{1,9}( ?; ?refresher=(uac|uas))?",
    "(min-se|rseq|expires|retry-after|min-expires):[0-9]{1,9}",
    "rack:[0-9]{1,10} [0-9]{1,10} [a-z]{1,16}",
    "mime-version:1[.]0",
)
"""Further headers that clients need, and values of theirs that hold no sentence."""
_SILENT: Final = "|".join(f"({line})" for line in LINES)
_EXPRESSIONS: Final = {
    "LCS_URI": _URI,
    "LCS_TAG": _TAG,
    "LCS_NAME_ADDR": f"<{_URI}>(;tag={_TAG})?",
    "LCS_VIA": f"{_VIA}( ?, ?{_VIA})*",
    "LCS_ROUTE": f"<{_URI}>({_PARAMETER})*( ?, ?<{_URI}>({_PARAMETER})*)*",
    "LCS_PLAIN": "|".join(f"({each})" for each in _PLAIN),
    "LCS_SDP_LINE": f"({_SILENT})\\r?\\n?",
    "LCS_SDP_ORIGIN": f"{ORIGIN}\\r?\\n?",
}
"""Forms that may be relayed: POSIX extended regular expressions, matched without regard to case."""
_PHRASES: Final = {
    **{100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress"},
    **{200: "OK", 202: "Accepted", 204: "No Notification", 300: "Multiple Choices", 301: "Moved Permanently"},
    **{302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service", 400: "Bad Request"},
    **{
        401: "Unauthorized",
        402: "Payment Required",
        403: "Forbidden",
        404: "Not Found",
        406: "Not Acceptable",
    },
    **{405: "Method Not Allowed", 407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone"},
    **{413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type"},
    **{
        416: "Unsupported URI Scheme",
        420: "Bad Extension",
        421: "Extension Required",
        433: "Anonymity Disallowed",
    },
    **{422: "Session Interval Too Small", 423: "Interval Too Brief", 480: "Temporarily Unavailable"},
    **{481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 486: "Busy Here"},
    **{484: "Address Incomplete", 485: "Ambiguous", 487: "Request Terminated", 488: "Not Acceptable Here"},
    **{489: "Bad Event", 491: "Request Pending", 493: "Undecipherable", 494: "Security Agreement Required"},
    **{500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable"},
    **{
        504: "Server Time-out",
        505: "Version Not Supported",
        513: "Message Too Large",
        580: "Precondition Failure",
    },
    **{600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable"},
}
"""Reason phrases (RFC 3261, 21, and IANA's further ones): they carry no text of a person."""
_PARTNER: Final = re.compile(r"(?P<domain>[^=]+)=(?P<uri>sips?:[a-z0-9.-]+(:[0-9]+)?(;transport=tls)?)")


class SettingError(ValueError):
    """Raised for a setting that won't do; the text names it and the mend."""


@dataclass(frozen=True)
class Settings:
    """Settings of an edge."""

    hook: str
    """Where front ends take SIP requests: ``http://proxy:8080/v1/sip``."""
    token: str
    """The connector's token."""
    domains: list[str]
    """Our own SIP domains."""
    users: list[dict[str, str]]
    """Accounts: ``address`` (user@domain) and ``ha1`` (RFC 7616: MD5 of user:domain:password)."""
    run: Path
    """A folder for the files that are written for Kamailio."""
    host: str = "127.0.0.1"
    """The address it listens at; ``own``: that of this host's name, as in a container."""
    advertised: str = ""
    """The name or address under which clients know this host, if it is another."""
    port: int = 5060
    tls_port: int = 5061
    websocket_port: int = 8088
    metrics_port: int = 9273
    """Where Prometheus finds ``/metrics``, over HTTP; 0: nowhere."""
    certificate: str = ""
    """File of a certificate, with its key in ``key``; without them there is no TLS and no federation."""
    key: str = ""
    authorities: str = ""
    """File of the authorities that sign partners' certificates."""
    partners: dict[str, str] = field(default_factory=dict)
    """Federated domain to its edge: ``sip:edge.fabrikam.com:5061;transport=tls``."""
    trusted: list[str] = field(default_factory=list)
    """Addresses of gateways: their requests need no password."""
    timeout_milliseconds: int = 4000
    """How long a front end may take; more than its own deadline."""
    max_bytes: int = 65_000
    show_archived: bool = True
    """True if our own clients learn whether an IM is archived (header ``LCS-Archived``)."""


def read_settings() -> Settings:
    """Return the settings of the environment (``LCS_SIP_…``) and of files in ``LCS_SECRETS_DIR``.

    Raises SettingError.
    """
    environment = os.environ
    folder = Path(environment.get("LCS_SECRETS_DIR", "/run/secrets"))

    def number(name: str, default: int) -> int:
        text = environment.get(name, str(default))
        if not text.isdigit() or int(text) > 65_535:
            raise SettingError(f"{name} is {text!r}: give a number from 0 to 65535")
        return int(text)

    def words(name: str) -> list[str]:
        return [word for word in re.split(r"[,\s]+", environment.get(name, "").lower()) if word]

    def switch(name: str, default: str) -> bool:
        text = environment.get(name) or default
        if text not in ("yes", "no"):
            raise SettingError(f"{name} is {text!r}: say yes or no")
        return text == "yes"

    try:
        token = (folder / "token").read_text().strip()
        users = json.loads((folder / "users.json").read_text())
    except (OSError, ValueError) as error:
        raise SettingError(f"LCS_SECRETS_DIR must hold token and users.json: {error}") from None
    domains = words("LCS_SIP_DOMAINS")
    if not domains or not all(map(_DOMAIN.fullmatch, domains)):
        raise SettingError("LCS_SIP_DOMAINS must name our SIP domains: contoso.com,litware.com")
    partners = {}
    for word in words("LCS_SIP_PARTNERS"):
        match = _PARTNER.fullmatch(word)
        if match is None:
            raise SettingError(
                f"LCS_SIP_PARTNERS has {word!r}: write fabrikam.com=sip:edge.fabrikam.com:5061;transport=tls"
            )
        partners[match["domain"]] = match["uri"]
    hook = environment.get("LCS_SIP_HOOK", "")
    if not hook.startswith(("http://", "https://")):
        raise SettingError("LCS_SIP_HOOK must say where front ends are: http://proxy:8080/v1/sip")
    settings = Settings(
        hook=hook,
        token=token,
        domains=domains,
        users=users,
        run=Path(environment.get("LCS_SIP_RUN_DIR") or tempfile.mkdtemp(prefix="edge-")),
        host=_find_host(),
        advertised=environment.get("LCS_SIP_ADVERTISED", ""),
        port=number("LCS_SIP_PORT", 5060),
        tls_port=number("LCS_SIP_TLS_PORT", 5061),
        websocket_port=number("LCS_SIP_WEBSOCKET_PORT", 8088),
        metrics_port=number("LCS_SIP_METRICS_PORT", 9273),
        certificate=environment.get("LCS_SIP_CERTIFICATE", ""),
        key=environment.get("LCS_SIP_KEY", ""),
        authorities=environment.get("LCS_SIP_AUTHORITIES", ""),
        partners=partners,
        trusted=words("LCS_SIP_TRUSTED"),
        timeout_milliseconds=number("LCS_SIP_TIMEOUT_MILLISECONDS", 4000),
        max_bytes=number("LCS_SIP_MAX_BYTES", 65_000),
        show_archived=switch("LCS_SIP_SHOW_ARCHIVED", "yes"),
    )
    if partners and not (settings.certificate and settings.key and settings.authorities):
        raise SettingError(
            "LCS_SIP_PARTNERS needs LCS_SIP_CERTIFICATE, LCS_SIP_KEY, LCS_SIP_AUTHORITIES: partners use TLS"
        )
    return settings


def _find_host() -> str:
    host = os.environ.get("LCS_SIP_HOST", "127.0.0.1")
    return socket.gethostbyname(socket.gethostname()) if host == "own" else host


def write_configuration(settings: Settings) -> Path:
    """Write Kamailio's files; return the main one."""
    run, tables = settings.run, settings.run / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    run.chmod(0o700)
    for name in ("kamailio.cfg", "clean.cfg"):
        shutil.copy(_HERE / name, run / name)
    _write_table(tables / "users", ((user["address"].lower(), user["ha1"]) for user in settings.users))
    _write_table(tables / "domains", ((domain, "1") for domain in settings.domains))
    _write_table(tables / "partners", settings.partners.items())
    _write_table(tables / "phrases", ((str(status), phrase) for status, phrase in _PHRASES.items()))
    pages = _PAGES if (_PAGE / "chat.js").exists() else {}
    _write_table(tables / "pages", ((at, (_PAGE / name).read_text()) for at, (name, _) in pages.items()))
    _write_table(tables / "types", ((at, type_) for at, (_, type_) in pages.items()))
    (tables / "version").write_text("table_name(string) table_version(int)\naddress:6\ntrusted:6\n")
    (tables / "trusted").write_text("id(int,auto) src_ip(string) proto(string)\n")
    (tables / "address").write_text(
        "id(int,auto) grp(int) ip_addr(string) mask(int) port(int) tag(string,null)\n"
        + "".join(f"{place}:1:{_escape(ip)}:32:0:gateway\n" for place, ip in enumerate(settings.trusted, 1))
    )
    defines = {
        "LCS_TABLES": f"text://{tables}",
        "LCS_HOOK": settings.hook,
        "LCS_TOKEN": settings.token,
        "LCS_SECRET": secrets.token_urlsafe(32),
        "LCS_SELF": f"sip:{settings.host}:{settings.port};transport=tcp",
    }
    if settings.certificate:
        (run / "tls.cfg").write_text(_tls(settings))
        defines["LCS_TLS"] = str(run / "tls.cfg")
    lines = [f'#!define {name} "{value}"' for name, value in defines.items()]
    lines += [f'#!define {name} "^({expression})$"' for name, expression in _EXPRESSIONS.items()]
    lines.append('#!define LCS_NUL "[\\\\]0"')
    lines.append(f'#!define LCS_SDP_END "\\n(({_SILENT})\\r?)?$"')
    lines += [f"#!define LCS_TIMEOUT {settings.timeout_milliseconds}"]
    lines += [f"#!define LCS_MAX_BYTES {settings.max_bytes}"]
    lines += [f"#!define LCS_BUFFER {settings.max_bytes + 4096}"]
    if settings.metrics_port:
        lines.append(f"#!define LCS_METRICS_PORT {settings.metrics_port}")
    if settings.show_archived:
        lines.append("#!define LCS_SHOW_ARCHIVED")
    advertise = f" advertise {settings.advertised}:" if settings.advertised else ""
    for protocol, port in _listeners(settings):
        lines.append(
            f"listen={protocol}:{settings.host}:{port}" + (f"{advertise}{port}" if advertise else "")
        )
    (run / "settings.cfg").write_text("\n".join(lines) + "\n")
    (run / "settings.cfg").chmod(0o400)
    return run / "kamailio.cfg"


def _listeners(settings: Settings) -> list[tuple[str, int]]:
    listeners = [("udp", settings.port), ("tcp", settings.port), ("tcp", settings.websocket_port)]
    if settings.certificate:
        listeners.append(("tls", settings.tls_port))
    if settings.metrics_port:
        listeners.append(("tcp", settings.metrics_port))
    return listeners


def _tls(settings: Settings) -> str:
    own = f"private_key = {settings.key}\ncertificate = {settings.certificate}\nmethod = TLSv1.2+\n"
    if not settings.authorities:
        return f"[server:default]\n{own}[client:default]\n{own}"
    checked = f"{own}ca_list = {settings.authorities}\nverify_certificate = yes\n"
    # Our own clients bring no certificate: it is asked for, and needed only where From is a partner.
    server = f"[server:default]\n{checked}require_certificate = no\n"
    return f"{server}[client:default]\n{checked}require_certificate = yes\n"


def _write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write a table as htable reads one (Kamailio, module db_text)."""
    head = "id(int,auto) key_name(string) key_type(int) value_type(int) key_value(string) expires(int)\n"
    body = (f"{place}:{_escape(key)}:0:0:{_escape(value)}:0\n" for place, (key, value) in enumerate(rows, 1))
    path.write_text(head + "".join(body))


_ESCAPED: Final = str.maketrans({"\\": "\\\\", ":": "\\:", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _escape(text: str) -> str:
    """Return a value as a file of db_text has it."""
    return text.translate(_ESCAPED)


def check(host: str, port: int) -> bool:
    """Return True if an edge answers OPTIONS (RFC 3261, 11)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect((host, port))
        mine, mine_port = client.getsockname()
        client.send(
            f"OPTIONS sip:{host}:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {mine}:{mine_port};branch=z9hG4bK-check-{mine_port}\r\n"
            f"Max-Forwards: 5\r\nFrom: <sip:check@{mine}>;tag=1\r\nTo: <sip:{host}>\r\n"
            f"Call-ID: check-{mine_port}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
        )
        try:
            return client.recv(4096).startswith(b"SIP/2.0 200")
        except OSError:
            return False


def main() -> None:
    """Start Kamailio in place of this process, or look after one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "check"], default="run")
    command = parser.parse_args().command
    if command == "check":
        sys.exit(0 if check(_find_host(), int(os.environ.get("LCS_SIP_PORT", "5060"))) else 1)
    try:
        settings = read_settings()
    except SettingError as error:
        sys.exit(f"edge: {error}")
    configuration = write_configuration(settings)
    program = shutil.which("kamailio") or "/usr/sbin/kamailio"
    memory = ["-m", "256", "-M", "16"]  # MB: shared, and of each process
    command_line = [program, "-DD", "-E", *memory, "-f", str(configuration), "-Y", str(settings.run)]
    os.execv(program, command_line)  # noqa: S606 - this process becomes Kamailio


if __name__ == "__main__":
    main()
