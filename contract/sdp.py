"""Session descriptions (SDP, RFC 8866): which say nothing to a person, and which open a way past us.

No line can be read in two ways: else one that fits neither would take for ever.

The SIP edge reads answers by the same lines: its settings are made of ``LINES``
(``deploy/kamailio/edge.py``). So they are POSIX extended regular expressions, matched without regard to case.
"""

import re
from collections.abc import Collection
from typing import Final, Literal

UnseenKind = Literal["msrp", "t140", "datachannel", "file", "fax", "other"]
"""Kinds of content that go past us once agreed: MSRP (RFC 4975), real-time text (RFC 4103), data channels
(RFC 8864), files (RFC 5547), fax (T.38), and media of which we don't know that they carry no text."""

_NUMBER: Final = "[0-9]{1,20}"
_TYPE: Final = "[0-9]{1,3}"
_ADDRESS: Final = "IN (IP4 [0-9]{1,3}([.][0-9]{1,3}){3}|IP6 [0-9a-f:.]{2,45})"
_RTP: Final = "((TCP|UDP)/)?((TLS|DTLS)/)?RTP/S?AVPF?"
_CODECS: Final = (
    "PCMU|PCMA|G72[2389]|G7221|G726-(16|24|32|40)|AAL2-G726-(16|24|32|40)|GSM(-EFR|-HR-08)?|iLBC|iSAC|speex|opus|"
    "SILK|BV16|BV32|L(8|16|24)|LPC|DVI4|QCELP|EVRC[0-9A-Z]*|AMR(-WB[+]?)?|EVS|VDVI|DV|MPA|MP4A-LATM|mpeg4-generic|"
    "SIREN|x-msrta|x-msrtvideo|x-rtvc1|x-h264uc|x-ulpfecuc|x-data-not|telephone-event|tone|CN|red|rtx|ulpfec|"
    "flexfec(-03)?|multiopus|H26[1-6](-1998|-2000|-SVC)?|VP[89]|AV1X?|MP4V-ES|MPV|theora|JPEG"
)
_MADE: Final = "[a-z0-9+/._{}@:-]"
"""Of identifiers that machines make. They hold no sentence: a space ends them."""
_PARAMETER: Final = (
    "((max-?(playbackrate|capturerate|averagebitrate|fs|fr|mbps|br|dpb|smbps|cpb|rcmd-nalu-size|ptime)|minptime|"
    "ptime|cbr|usedtx|useinbandfec|stereo|sprop-stereo|sprop-maxcapturerate|mode(-set|-change-(period|capability|"
    "neighbor))?|octet-align|crc|robust-sorting|interleaving|annex[a-z]|vbr|cng|bitrate|br|bw|apt|rtx-time|profile|"
    "profile-(level-)?id|packetization-mode|level-(asymmetry-allowed|idx|id)|tier|tier-flag|tx-mode|interop-"
    "constraints|QCIF|CIF|SQCIF|CIF4|CIF16|repair-window|evs-mode-switch|ch-aw-recv|dtx|hf-only|channels)="
    "([0-9a-f]{1,16}|[0-9]{1,9}([.,/-][0-9]{1,9})+|on|off|yes|no|any|wb|swb|nb|nb-wb|nb-swb|nb-fb)|"
    "sprop-(parameter-sets|vps|sps|pps)=[a-z0-9+/=,]{1,512}|config=[0-9a-f]{1,512})"
)
_NAMES: Final = "[a-z0-9+.-]{1,64}/[a-z0-9+.*-]{1,64}|[*]"
_FEEDBACK: Final = (
    "ack( rpsi| app)?|nack( pli| sli| rpsi| app| rai)?|ccm (fir|tmmbr|tstr|vbcm)( [0-9a-z=]{1,16})?|"
    "trr-int [0-9]{1,9}|goog-remb|transport-cc|"
    "x-message app send:(src|dsh)(,(src|dsh))*( recv:(src|dsh)(,(src|dsh))*)?"
)

_PLAIN: Final = (
    "v=0",
    f"c={_ADDRESS}(/[0-9]{{1,3}}){{0,2}}",
    f"b=(AS|TIAS|CT|RS|RR|X-YZ):{_NUMBER}",
    f"t={_NUMBER} {_NUMBER}",
)
SILENT_MEDIA: Final = (
    f"m=(audio|video) [0-9]{{1,5}}(/[0-9]{{1,2}})? {_RTP}( {_TYPE}){{1,64}}",
    # Microsoft's [MS-SIPRE]: what is said in such a session comes as MESSAGE, through us.
    "m=message [0-9]{1,5} sip null",
)
_ATTRIBUTES: Final = (
    "a=(sendrecv|sendonly|recvonly|inactive|rtcp-mux|rtcp-mux-only|rtcp-rsize|ice-lite|end-of-candidates|"
    "extmap-allow-mixed|bundle-only)",
    "a=(ptime|maxptime|minptime|framerate|label|quality):[0-9]{1,9}([.][0-9]{1,3})?",
    # Never 1000: the clock of text (RFC 4103).
    f"a=rtpmap:{_TYPE} ({_CODECS})/([2-9][0-9]{{3}}|[0-9]{{5,6}})(/[0-9])?",
    f"a=fmtp:{_TYPE} ({_PARAMETER}(; ?{_PARAMETER})*;?|[0-9]{{1,3}}([-,/][0-9]{{1,3}})*)",
    f"a=rtcp:[0-9]{{1,5}}( {_ADDRESS})?",
    f"a=rtcp-fb:({_TYPE}|[*]) ({_FEEDBACK})",
    "a=rtcp-xr:?(rcvr-rtt=(all|sender)(:[0-9]{1,9})?|stat-summary(=(loss|dup|jitt|TTL|HL|,)+)?|voip-metrics|"
    "pkt-loss-rle|pkt-dup-rle|pkt-rcpt-times| )*",
    f"a=ssrc:{_NUMBER} ((cname|mslabel|label):{_MADE}{{1,64}}|msid:{_MADE}{{1,64}}( {_MADE}{{1,64}})?)",
    f"a=ssrc-group:(FID|FEC|FEC-FR|SIM)( {_NUMBER}){{1,8}}",
    f"a=msid:{_MADE}{{1,64}}( {_MADE}{{1,64}})?",
    f"a=msid-semantic: ?WMS( {_MADE}{{1,64}}| [*])?",
    "a=(mid|identification-tag):[a-z0-9]{1,16}",
    "a=group:(BUNDLE|LS|FID)( [a-z0-9]{1,16}){0,8}",
    "a=setup:(active|passive|actpass|holdconn)",
    "a=connection:(new|existing)",
    "a=fingerprint:sha-(1|224|256|384|512)( [0-9a-f]{2}(:[0-9a-f]{2}){19,63})",
    "a=ice-(ufrag:[a-z0-9+/]{4,32}|pwd:[a-z0-9+/]{22,64}|options:(trickle|renomination|ice2| )+|"
    "pacing:[0-9]{1,5})",
    "a=candidate:[a-z0-9+/]{1,32} [0-9]{1,3} (UDP|TCP|TCP-ACT|TCP-PASS) [0-9]{1,10} [0-9a-f:.]{2,45} "
    "[0-9]{1,5} typ (host|srflx|prflx|relay)( raddr [0-9a-f:.]{2,45} rport [0-9]{1,5})?"
    "( tcptype (active|passive|so))?( generation [0-9]{1,3})?"
    "( ufrag [a-z0-9+/]{4,32})?( network-(id|cost) [0-9]{1,5})*",
    "a=remote-candidates:( ?[0-9]{1,3} [0-9a-f:.]{2,45} [0-9]{1,5}){1,4}",
    "a=crypto:[0-9]{1,9} (AES_CM_(128|192|256)|AES_(192|256)_CM|AEAD_AES_(128|256)_GCM|F8_128)"
    "(_HMAC_SHA1_(80|32))? inline:[a-z0-9+/=]{38,72}"
    "([|](2[^ a-z])?[0-9]{1,9})?([|][0-9]{1,9}:[0-9]{1,3})?",
    "a=extmap:[0-9]{1,4}(/(sendrecv|sendonly|recvonly|inactive))? (urn:ietf:params:rtp-hdrext:"
    "[a-z0-9:-]{1,40}|urn:3gpp:[a-z0-9:-]{1,40}|https?://(www[.])?(webrtc[.]org|ietf[.]org|tools[.]ietf[.]org|"
    "aomediacodec[.]github[.]io)/[a-z0-9:._/#-]{1,80})",
    f"a=accept(-wrapped)?-types:({_NAMES})( ({_NAMES})){{0,32}}",
    "a=encryption:(optional|required|rejected)",
    "a=record:(on|off|paused)",
    "a=X-nat:[0-9]",
    f"a=tcap:[0-9]{{1,3}}( {_RTP}){{1,8}}",
    "a=(pcfg|acfg):[0-9]{1,5}( [tad]=[0-9,|-]{1,16}){0,4}",
    "a=zrtp-hash:[0-9.]{1,6} [0-9a-f]{64}",
    "a=tool:(baresip|linphone|mediastreamer2?|pjmedia|libre|re) ?/?v?[0-9][0-9.]{0,15}",
    "a=content:(main|alt|slides|speaker|sl)",
)
LINES: Final = (*_PLAIN, *SILENT_MEDIA, *_ATTRIBUTES)
"""Lines that say nothing to a person, but for the three that ``ORIGIN`` and ``is_silent`` know."""
ORIGIN: Final = f"o=[^ ]{{1,64}} {_NUMBER} {_NUMBER} {_ADDRESS}"
_ORIGIN: Final = re.compile(ORIGIN, re.I)
_NOBODY: Final = re.compile(
    r"|-|root|user1?|asterisk|freeswitch|mozilla(\.\.\.THIS_IS_SDPARTA-[0-9.]{1,8})?|twinkle|linphone|baresip|pjsip|"
    r"pjmedia|jssip|sipp|zoiper|z|jitsi|session|talk|(sip |phone-|a )?call|conf|voip|sdp data|[0-9]{1,20}",
    re.I,
)
"""Names of users and sessions that clients write where a person has said nothing."""
_LINE: Final = re.compile("|".join(f"({line})" for line in LINES), re.I)
_SILENT_MEDIUM: Final = re.compile("|".join(SILENT_MEDIA), re.I)
_MAX_LINE: Final = 4096
"""Characters: to match longer ones takes much memory, and no client writes them."""
_BREAK: Final = re.compile(rb"[\r\n\0\x0b\x0c\x85]+")
_UNSEEN_RTP: Final = re.compile(r"rtpmap:.*(t140|/1000\b)")
_UNSEEN_DATA: Final = re.compile(r"(dcmap|dcsa|sctp-?map|sctp-port|webrtc-datachannel)")


def is_silent(body: bytes, words: Collection[str] = ()) -> bool:
    """Return True if a description parses, carries no text and opens no way past us.

    ``words``: what may stand as its user, in lower case, beside what clients write: users of the parties.
    """
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        return False
    version, *lines = text.removesuffix("\n").removesuffix("\r").split("\r\n" if "\r" in text else "\n")
    if version != "v=0" or len(lines) < 2:
        return False
    origin, subject, *rest = lines
    user = origin[2:].partition(" ")[0]
    if not _ORIGIN.fullmatch(origin) or not (_NOBODY.fullmatch(user) or user.lower() in words):
        return False
    if not subject.startswith("s=") or not _NOBODY.fullmatch(subject[2:].strip()):
        return False
    return all(len(line) <= _MAX_LINE and _LINE.fullmatch(line) for line in rest)


def find_unseen(body: bytes) -> frozenset[str]:
    """Return the kinds of content that a body offers to send past us, by the most lenient reading.

    It looks for lines, not for a description: a client may accept a body that our parser refuses.
    """
    found: set[str] = set()
    medium = ""
    for line in _BREAK.split(body):
        text = line.decode("latin-1").strip().lower()
        name, equals, value = text.partition("=")
        if not equals:
            continue
        name, value = name.strip(), value.strip()
        if name == "m":
            medium = "" if _SILENT_MEDIUM.fullmatch(text) else _kind_of(value)
            found |= {medium} - {""}
        elif name == "a" and value.startswith(("file-selector", "file-transfer-id", "file-range")):
            found.add("file")
            found.discard(medium if medium == "msrp" else "")
            medium = "file"
        elif name == "a" and value.startswith("path:") and medium not in ("msrp", "file"):
            found.add("msrp")
        elif name == "a" and _UNSEEN_RTP.match(value):
            found.add("t140")
        elif name == "a" and _UNSEEN_DATA.match(value):
            found.add("datachannel")
    return frozenset(found)


def _kind_of(media: str) -> str:
    """Return which kind a medium is that is not silent."""
    name, _, rest = media.partition(" ")
    if name == "text" or "t140" in rest:
        return "t140"
    if name == "message" or "msrp" in rest:
        return "msrp"
    if "sctp" in rest or "datachannel" in rest:
        return "datachannel"
    if name == "image" or "udptl" in rest or "t38" in rest:
        return "fax"
    return "other"
