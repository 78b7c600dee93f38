"""What sipp does, as scenarios in its own language."""

TYPING = '<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>'
"""A typing notice (RFC 3994)."""
_HEAD = """\
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
"""


def _attempts(address: str, password: str) -> tuple[tuple[int, str], tuple[int, str]]:
    """A request's number and header: before the challenge, and after it."""
    user = address.partition("@")[0]
    return (1, ""), (2, f"[authentication username={user} password={password}]\n")


def register(address: str, password: str, contact: str, *, status: int = 200) -> str:
    """Register somebody at a contact, with a password; ``status``: the last answer that is expected."""
    domain = address.partition("@")[2]
    first, second = (
        f"""\
REGISTER sip:{domain} SIP/2.0
{_HEAD}From: <sip:{address}>;tag=[call_number]
To: <sip:{address}>
Call-ID: [call_id]
CSeq: {number} REGISTER
Contact: <{contact}>
{authentication}Expires: 600
Content-Length: 0

"""
        for number, authentication in _attempts(address, password)
    )
    return _scenario(_send(first), '<recv response="401" auth="true"/>', _send(second), _receive(status))


def uri_of(to: str) -> str:
    """Return a recipient's URI: a SIP URI, unless it is one of another scheme."""
    return to if to.startswith("tel:") else f"sip:{to}"


def message(
    user: str,
    to: str,
    body: str,
    *,
    password: str = "",
    status: int = 200,
    content_type: str = "text/plain",
    headers: str = "",
) -> str:
    """Send a MESSAGE; with a password, after the challenge for it."""
    first, second = (
        f"""\
MESSAGE {uri_of(to)} SIP/2.0
{_HEAD}From: <sip:{user}>;tag=[call_number]
To: <{uri_of(to)}>
Call-ID: [call_id]
CSeq: {number} MESSAGE
{headers}{authentication}Content-Type: {content_type}
Content-Length: [len]

{body}"""
        for number, authentication in _attempts(user, password)
    )
    if not password:
        return _scenario(_send(first), _receive(status))
    return _scenario(_send(first), '<recv response="407" auth="true"/>', _send(second), _receive(status))


def list_body(text: str, recipients: list[str]) -> str:
    """Return the body of a MESSAGE to several (RFC 5365): what is said, and to whom; its boundary is b1."""
    entries = "".join(f'<entry uri="sip:{each}"/>' for each in recipients)
    return (
        f"--b1\nContent-Type: text/plain\n\n{text}\n--b1\nContent-Type: application/resource-lists+xml\n"
        "Content-Disposition: recipient-list\n\n"
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
        f"<list>{entries}</list></resource-lists>\n--b1--\n"
    )


def session(user: str, password: str, to: str, texts: list[str], *, toast: str = "") -> str:
    """Invite, say some texts, hang up. ``toast``: the header that carries the first text in the INVITE."""
    steps = _begin(user, password, to, toast)
    for number, text in enumerate(texts):
        steps += _say_in_session(user, password, to, 3 + 2 * number, text)
    steps += [_send(_in_dialog("BYE", user, to, 2 * len(texts) + 3)), _receive(200)]
    return _scenario(*steps)


def _begin(user: str, password: str, to: str, toast: str = "") -> list[str]:
    """Begin a session."""
    first, second = _invites(user, password, to, toast)
    return [
        _send(first),
        '<recv response="100" optional="true"/><recv response="407" auth="true"/>',
        _send(_in_dialog("ACK", user, to, 1, routed=False), once=True),
        _send(second),
        '<recv response="100" optional="true"/>',
        '<recv response="200" rrs="true"/>',
        _send(_in_dialog("ACK", user, to, 2), once=True),
    ]


def _say_in_session(
    user: str, password: str, to: str, number: int, text: str, status: int = 200
) -> list[str]:
    """Send a MESSAGE in a session, after the challenge for it."""
    authentication = _attempts(user, password)[1][1]
    return [
        _send(_in_dialog("MESSAGE", user, to, number, text)),
        '<recv response="407" auth="true"/>',
        _send(_in_dialog("MESSAGE", user, to, number + 1, text, headers=authentication)),
        _receive(status),
    ]


def forge(user: str, password: str, to: str) -> str:
    """In a session say something as the other, to oneself; then something of one's own to another client."""
    steps = _begin(user, password, to)
    forged = _in_dialog("MESSAGE", user, to, 3, "forged")
    forged = forged.replace(f"From: <sip:{user}>;tag=[call_number]", f"From: <sip:{to}>[peer_tag_param]")
    forged = forged.replace(f"To: <sip:{to}>[peer_tag_param]", f"To: <sip:{user}>;tag=[call_number]")
    forged = forged.replace("MESSAGE [next_url]", f"MESSAGE {_contact_of(user)}")
    own = _attempts(user, password)[1][1]
    astray = _in_dialog("MESSAGE", user, to, 5, "astray").replace("[next_url]", _contact_of(user))
    steps += [
        _send(forged),
        '<recv response="407" auth="true"/>',
        _send(forged.replace("CSeq: 3", f"{own}CSeq: 4")),
        _receive(407),
        _send(astray),
        _receive(403),
    ]
    steps += _say_in_session(user, password, to, 6, "genuine")
    return _scenario(*steps, _send(_in_dialog("BYE", user, to, 8)), _receive(200))


def refused_session(user: str, password: str, to: str, status: int) -> str:
    """Invite somebody who refuses."""
    first, second = _invites(user, password, to)
    return _scenario(
        _send(first),
        '<recv response="100" optional="true"/><recv response="407" auth="true"/>',
        _send(_in_dialog("ACK", user, to, 1, routed=False), once=True),
        _send(second),
        _receive(status),
        _send(_in_dialog("ACK", user, to, 2, routed=False), once=True),
    )


def _invites(user: str, password: str, to: str, toast: str = "") -> list[str]:
    """Return an INVITE before the challenge, and after it."""
    return [
        f"""\
INVITE sip:{to} SIP/2.0
{_HEAD}From: <sip:{user}>;tag=[call_number]
To: <sip:{to}>
Call-ID: [call_id]
CSeq: {number} INVITE
Contact: <{_contact_of(user)}>
{toast}{authentication}Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 0 0 IN IP4 [local_ip]
s=session
c=IN IP4 [local_ip]
t=0 0
m=message 5060 sip null
"""
        for number, authentication in _attempts(user, password)
    ]


def _contact_of(user: str) -> str:
    return f"sip:{user.partition('@')[0]}@[local_ip]:[local_port];transport=[transport]"


def _in_dialog(
    method: str, user: str, to: str, number: int, body: str = "", *, routed: bool = True, headers: str = ""
) -> str:
    uri, routes = ("[next_url]", "[routes]\n") if routed else (f"sip:{to}", "")
    content = "Content-Type: text/plain;charset=UTF-8\n" if body else ""
    return f"""\
{method} {uri} SIP/2.0
{_HEAD}{routes}From: <sip:{user}>;tag=[call_number]
To: <sip:{to}>[peer_tag_param]
Call-ID: [call_id]
CSeq: {number} {method}
{headers}{content}Content-Length: [len]

{body}"""


def answer() -> str:
    """Answer whatever comes with 200, until it is ended; what is said goes to the log, a line each."""
    in_dialog, new = (
        f"""\
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
Content-Length: 0

"""
        for tag in ("", ";tag=[call_number]")
    )
    return _scenario(
        '<label id="1"/>',
        """\
<recv request=".*" regexp_match="true" rrs="true">
  <action>
    <ereg regexp="^[A-Z]+" search_in="msg" assign_to="method"/>
    <ereg regexp=".*" search_in="body" assign_to="body"/>
    <ereg regexp=";tag=" search_in="hdr" header="To:" assign_to="tagged"/>
    <strcmp assign_to="differs" variable="method" value="ACK"/>
    <test assign_to="is_ack" variable="differs" compare="equal" value="0"/>
    <log message="[$method] [$body]"/>
  </action>
</recv>""",
        '<nop next="1" test="is_ack"/>',
        '<nop next="2" test="tagged"/>',
        f'<send next="1"><![CDATA[\n{new}]]></send>',
        '<label id="2"/>',
        f'<send next="1"><![CDATA[\n{in_dialog}]]></send>',
    )


def agree() -> str:
    """Answer each MESSAGE with 200, and note nothing of it."""
    return _scenario(
        '<recv request="MESSAGE"/>',
        """<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>""",
    )


def refuse(status: int) -> str:
    """Refuse the first INVITE that comes."""
    return _scenario(
        '<recv request="INVITE"/>',
        f"""<send retrans="500"><![CDATA[
SIP/2.0 {status} No
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>""",
        '<recv request="ACK"/>',
    )


def _scenario(*steps: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="it">\n'
        + "\n".join(steps)
        + "\n</scenario>\n"
    )


def _send(text: str, *, once: bool = False) -> str:
    again = "" if once else ' retrans="500"'
    return f"<send{again}><![CDATA[\n{text}]]></send>"


def _receive(status: int) -> str:
    return f'<recv response="100" optional="true"/><recv response="{status}"/>'
