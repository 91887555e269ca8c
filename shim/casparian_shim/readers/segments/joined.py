"""Two segments that a lost end has joined: the beginning of a common segment is recognised inside another one.

An id alone is no evidence, since a value may end with the same letters. What is looked for is an id with the first fields that
such a segment has: `OBX|1|`, `NM1*IL*1*`, `NAD+BY+`. A segment with that inside has two readings, and is rejected.

The opposite, a segment that a stray terminator has cut, shows where the second part does not begin with an id. In X12 any short
word looks like one; in sets whose segments are known here, an id that is none of theirs is taken as such a part.
"""

from __future__ import annotations

import re
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.segments.separators import Separators

#: `¦` stands for the field separator, `·` for the component separator, `‡` for the end of the segment, `…` for the rest of a
#: component, and `∴` for the rest of a field.
_BEGINNINGS = {
    "hl7": (
        # With a set id, or another small number, as their first field.
        "(?:PID|NK1|PV[12]|OB[RX]|NTE|AL1|DG1|PR1|GT1|IN1|FT1|SPM|TQ1|AI[GLPS]|ARV|CER|DB1|DSP|EDU|IAM|IVT|OM[1-7]|PCE|PKG|PYE|RGS|"
        "RX[DGV]|TXA|UB[12]|CM[01]|PSL|PAC|RQD|RDF)¦[0-9]{1,4}¦",
        "(?:CON|LAN|ORG)¦[0-9]{1,4}¦…·",
        "RXA¦[0-9]{1,4}¦[0-9]",
        # With a time, a code of a table, or an identifier of several components.
        "EVN¦(?:[A-Z][0-9][0-9]¦|¦[0-9]{8})",
        "(?:ACC|QRD)¦[0-9]{8}",
        "NDS¦[0-9]+¦[0-9]{8}",
        "PV1¦¦[A-Z]¦",
        "OBX¦¦[A-Z]{2,3}¦",
        "NTE¦¦[LPO]?¦[A-Za-z][A-Za-z .,]",
        "(?:PID¦¦|PD1¦|PV2¦|OBR¦|IN2¦)¦",
        "ORC¦[A-Z][A-Z]¦",
        "MSA¦[AC][AER]¦",
        "ERR¦¦[A-Z][A-Z0-9]{2}·",
        "(?:ROL|PRT)¦∴¦(?:AD|CO|DE|LI|UC|UN|UP)¦",
        "(?:GOL|PRB|PTH)¦(?:AD|CO|DE|LI|UC|UN|UP)¦",
        "QAK¦∴¦(?:OK|NF|AE|AR)(?:¦|‡|$)",
        "MF[EI]¦[A-Z0-9]{3}[¦·]",
        "RXC¦[AB]¦",
        "SFT¦∴¦v?[0-9]+[.]",
        "(?:MRG|PD1|RX[OERCDG]|RF1|QPD|NPU|ARQ|CS[PR]|CTI|PDC|SAC)¦…·",
        "(?:SCH|STF|EQU|INV|FAC)¦…·∴¦…·",
        "DRG¦[0-9]{1,3}·",
        "(?:BTS|FTS)¦[0-9]{1,6}(?:¦|‡|$)",
    ),
    "x12": (
        "NM1¦[A-Z0-9]{2,3}¦[12]¦",
        "DTP¦[0-9]{3}¦(?:D8|RD8|TM|DT)¦",
        "DTM¦[0-9]{3}¦[0-9]{8}",
        "HL¦[0-9]+¦[0-9]*¦[0-9A-Z]{1,2}",
        "SV[123]¦[A-Z]{2}·",
        "SVC¦[A-Z]{2}·",
        "CAS¦[A-Z]{2}¦[0-9]",
        "CLM¦∴¦[0-9.]+¦",
        "CLP¦∴¦[0-9]{1,2}¦",
        "PO1¦[0-9]*¦[0-9.]+¦",
        "BEG¦[0-9]{2}¦[A-Z]{2}¦",
        "BHT¦[0-9]{4}¦[0-9]{2}¦",
        "BPR¦[A-Z]¦[0-9.]+¦",
        "TRN¦[0-9]{1,2}¦",
        "SBR¦[A-HPSTU]¦[0-9]*¦",
        "HI¦[A-Z]{2,3}·",
        "REF¦[A-Z0-9]{2,3}¦",
        "N1¦(?:PR|PE|BY|ST|SE|SU|VN|BT|SF|IL|II|RI)¦",
        "N3¦[0-9]+ [A-Za-z]",
        "N4¦[A-Za-z .]+¦[A-Z]{2}¦[0-9]",
        "CUR¦[A-Z0-9]{2,3}¦[A-Z]{3}(?:¦|‡|$)",
        "PID¦[FSX]¦[A-Z0-9]{0,3}¦[A-Z]{0,2}¦",
        "CTT¦[0-9]{1,6}(?:¦|‡|$)",
        "LX¦[0-9]{1,6}(?:‡|$)",
        "PER¦[A-Z]{2}¦∴¦(?:TE|EM|FX)¦",
        "GS¦[A-Z]{2}¦∴¦∴¦[0-9]{6,8}¦",
        "ST¦[0-9]{3}¦[0-9]{4,9}(?:¦|‡|$)",
        "SE¦[0-9]{1,10}¦[0-9]{4,9}(?:‡|$)",
        "GE¦[0-9]{1,6}¦[0-9]{1,9}(?:‡|$)",
        "IEA¦[0-9]{1,5}¦[0-9]{9}(?:‡|$)",
    ),
    "edifact": (
        "NAD¦[A-Z]{2,3}¦",
        "LIN¦[0-9]{1,6}¦",
        "(?:DTM|QTY|MOA)¦[0-9]{1,3}·",
        "(?:RFF|PRI|ALC|CUX|LOC|PIA|FTX|TAX|CNT|IMD)¦(?:[A-Z]{2,3}|[0-9]{1,3})[·¦]",
        "BGM¦[0-9]{2,3}[·¦]",
        "UNS¦[DS](?:‡|$)",
        "UN[TZ]¦[0-9]{1,6}¦[^¦‡]+(?:‡|$)",
    ),
}
_PAYMENT_IDS = """
BPR NTE TRN CUR REF DTM N1 N2 N3 N4 PER RDM LX TS3 TS2 CLP CAS NM1 MIA MOA AMT QTY SVC LQ PLB
"""
_CLAIM_IDS = """
BHT REF NM1 N2 N3 N4 PER HL PRV CUR SBR PAT DMG CLM DTP CL1 DN1 DN2 PWK CN1 DSB UR AMT K3 NTE CR1 CR2 CR3 CR4 CR5 CR6 CR7 CR8 CRC
HI QTY HCP HSD OI MIA MOA LX SV1 SV2 SV3 SV4 SV5 SV6 SV7 TOO LIN CTP PS1 IMM MEA LQ FRM SVD CAS TST RMR DTM LS LE
"""
#: The segments of X12's payments and claims, of all versions since 4010, without those of the envelope.
_IDS_OF_SETS = {"835": frozenset(_PAYMENT_IDS.split()), "837": frozenset(_CLAIM_IDS.split())}
#: X12's acknowledgments name the segments that they complain about.
ABOUT_SEGMENTS = frozenset({"AK3", "IK3", "CTX"})


@lru_cache(maxsize=64)
def _pattern(separators: Separators, site_ids: frozenset[str]) -> str:
    end = re.escape(separators.terminator) if separators.terminator not in ("", "\r", "\n") else r"\r\n"
    field_mark, component_mark = re.escape(separators.field), re.escape(separators.component)
    written = (
        "|".join(_BEGINNINGS[separators.format])
        .replace("(?:‡|$)", f"(?:[{end}]|$)")
        .replace("(?:¦|‡|$)", f"(?:[¦{end}]|$)")
    )
    for stand_in, mark in (
        ("…", f"[^¦·{end}]*"), ("∴", f"[^¦{end}]*"), ("¦", field_mark), ("·", component_mark), ("‡", end),
    ):  # fmt: skip
        written = written.replace(stand_in, mark)
    pattern = rf"[^\r\n \x0b{end}](?:{written})"
    if site_ids:  # nothing is known of their fields, so that such a field by itself is no evidence
        pattern += rf"|[^\r\n \x0b{end}{field_mark}{component_mark}](?:{'|'.join(map(re.escape, sorted(site_ids)))}){field_mark}"
    return pattern


@lru_cache(maxsize=64)
def _compiled(separators: Separators, site_ids: frozenset[str]) -> re.Pattern[bytes]:
    return re.compile(_pattern(separators, site_ids).encode())


def may_hold_joined(data: bytes, separators: Separators, site_ids: frozenset[str]) -> bool:
    """Whether any segment of `data` may hold another one. One fast look at all of them."""
    offsets = (0).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    whole = pa.BinaryArray.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    found: bool = pc.match_substring_regex(whole, _pattern(separators, site_ids))[0].as_py()
    return found


def ids_of_set(set_id: str | None) -> frozenset[str] | None:
    """The ids of the segments of a kind of transaction set; None if they are not known here."""
    return _IDS_OF_SETS.get(set_id or "")


def joined_with(content: bytes, separators: Separators, site_ids: frozenset[str]) -> str | None:
    """The beginning of another segment inside `content`. `site_ids`: ids of this file that are not the standard's."""
    found = _compiled(separators, site_ids).search(content)
    return None if found is None else found[0][1:].decode("latin-1")
