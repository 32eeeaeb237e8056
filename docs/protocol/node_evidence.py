"""What a node and its TPM signed about a launch, verified with Python's standard library.

Part of verify_evidence.py, by the same document. A node's key is Ed25519; its TPM's is on P-256 with
SHA-256. Structures of the TPM are those of TCG's TPM 2.0 Library, Part 2 (big endian), and the event
log that of TCG's PC Client Platform Firmware Profile, 10 (little endian).
"""

import hashlib
import json

KIND = "cloudtaser node evidence 1"
# Behind the head of the map: key 0, and a text of 26 bytes.
MARK = bytes((0x00, 0x78, 26)) + KIND.encode()
STATEMENT = b"cloudtaser node statement, version 1\n"
QUOTE = b"cloudtaser node quote, version 1\n"
REPORT = b"cloudtaser node report, version 1\n"
MEMBERS = """
    v session sealing at boot kernel lockdown agent state tier reasons proved_s roads programs launch
""".split()


class Odd(Exception):
    """It is not as it has to be."""


def need(condition, why):
    if not condition:
        raise Odd(why)


# ECDSA on P-256 (FIPS 186-5), verification only.

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def on_curve(point):
    x, y = point
    return x < P and y < P and (y * y - x * x * x + 3 * x - B) % P == 0


def add(p, q):
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = (3 * p[0] * p[0] - 3) * pow(2 * p[1], P - 2, P) % P
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], P - 2, P) % P
    x = (slope * slope - p[0] - q[0]) % P
    return (x, (slope * (p[0] - x) - p[1]) % P)


def multiply(scalar, point):
    result = None
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def p256_verifies(point, message, signature):
    r, s = signature
    if not (on_curve(point) and 0 < r < N and 0 < s < N):
        return False
    hashed = int.from_bytes(hashlib.sha256(message).digest(), "big")
    inverse = pow(s, N - 2, N)
    found = add(multiply(hashed * inverse % N, BASE), multiply(r * inverse % N, point))
    return found is not None and found[0] % N == r


# Structures of a TPM.


class Reader:
    def __init__(self, data, order="big"):
        self.data, self.at, self.order = data, 0, order

    def take(self, count):
        need(self.at + count <= len(self.data), "a structure that is whole")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), self.order)

    def sized(self):
        return self.take(self.number(2))

    def end(self):
        need(self.at == len(self.data), "nothing after the end")


SHA256, ECDSA, ECC, NULL, P256 = 0x000B, 0x0018, 0x0023, 0x0010, 0x0003
# fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign; and not decrypt.
WANTED, UNWANTED = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18, 1 << 17


def quoting_key(data):
    """TPMT_PUBLIC of a key that signs nothing but what its TPM made."""
    reader = Reader(data)
    need(reader.number(2) == ECC and reader.number(2) == SHA256, "a key on a curve")
    attributes = reader.number(4)
    need(attributes & (WANTED | UNWANTED) == WANTED, "a key that stays and is restricted to quotes")
    reader.sized()
    need(reader.number(2) == NULL, "a key that protects nothing")
    need(reader.number(2) == ECDSA and reader.number(2) == SHA256, "a key for ECDSA")
    need(reader.number(2) == P256 and reader.number(2) == NULL, "a key on P-256")
    x, y = reader.sized(), reader.sized()
    reader.end()
    need(len(x) == 32 and len(y) == 32, "coordinates of 32 bytes")
    return int.from_bytes(x, "big"), int.from_bytes(y, "big")


def signature_of(data):
    """TPMT_SIGNATURE."""
    reader = Reader(data)
    need(reader.number(2) == ECDSA and reader.number(2) == SHA256, "a signature by ECDSA")
    r, s = reader.sized(), reader.sized()
    reader.end()
    need(len(r) <= 32 and len(s) <= 32, "scalars of 32 bytes")
    return int.from_bytes(r, "big"), int.from_bytes(s, "big")


def quote_of(data):
    """TPMS_ATTEST of a quote: what it was made for, which registers it covers, and their hash."""
    reader = Reader(data)
    need(reader.number(4) == 0xFF544347 and reader.number(2) == 0x8018, "a quote of a TPM")
    reader.sized()
    extra = reader.sized()
    # Clock, resets, restarts, whether it is safe, firmware.
    reader.take(8 + 4 + 4 + 1 + 8)
    need(reader.number(4) == 1 and reader.number(2) == SHA256, "one bank, of SHA-256")
    bits = reader.take(reader.number(1))
    covered = [8 * byte + bit for byte, b in enumerate(bits) for bit in range(8) if b >> bit & 1]
    hashed = reader.sized()
    reader.end()
    need(all(register < 24 for register in covered), "registers that there are")
    return extra, covered, hashed


def replay(log):
    """Where the event log leads: registers by number."""
    registers = {}
    if not log:
        return registers
    reader = Reader(log, "little")
    reader.number(4)
    need(reader.number(4) == 3, "an event that names the form")
    reader.take(20)
    head = Reader(reader.take(reader.number(4)), "little")
    need(head.take(16) == b"Spec ID Event03\0", "a log of TPM 2.0")
    head.take(8)
    count = head.number(4)
    need(count <= 16, "few banks")
    banks = {}
    for _ in range(count):
        bank = head.number(2)
        banks.setdefault(bank, head.number(2))
    head.take(head.number(1))
    head.end()
    while reader.at < len(log):
        register, kind, measured = reader.number(4), reader.number(4), None
        count = reader.number(4)
        need(count <= 16, "few banks")
        for _ in range(count):
            bank = reader.number(2)
            need(bank in banks, "a known bank")
            value = reader.take(banks[bank])
            measured = value if bank == SHA256 else measured
        text = reader.take(reader.number(4))
        need(measured is not None and len(measured) == 32, "a hash of our bank")
        if kind == 3:
            if text.startswith(b"StartupLocality\0"):
                need(len(text) == 17 and 0 not in registers, "a locality, first")
                registers[0] = bytes(31) + text[16:]
            continue
        need(register < 24, "a register that there is")
        before = registers.get(register, bytes(32))
        registers[register] = hashlib.sha256(before + measured).digest()
    return registers


def verify_quote(tpm, statement):
    point, values = quoting_key(tpm[0]), {item[0]: item[1] for item in tpm[3]}
    need([item[0] for item in tpm[3]] == sorted(values), "registers that rise")
    need(p256_verifies(point, tpm[1], signature_of(tpm[2])), "the quote's signature")
    extra, covered, hashed = quote_of(tpm[1])
    need(extra == hashlib.sha256(QUOTE + statement.encode()).digest(), "a quote of this statement")
    need(covered == sorted(values), "values of the registers that the quote covers")
    together = b"".join(values[register] for register in covered)
    need(hashlib.sha256(together).digest() == hashed, "the values that the quote covers")
    replayed = replay(tpm[4])
    for register, value in values.items():
        need(replayed.get(register, bytes(32)) == value, f"an event log that leads to {register}")


# Where a report has what it was made for: AMD's (publication 56860, table 23), and behind the header
# of Intel's quotes (DCAP quoting library API, version 4).
NAMED = {"sev_guest": 0x50, "tdx_guest": 48 + 520}


def verify_report(report, statement):
    need(report[0] in NAMED, "a report of a known kind")
    at = NAMED[report[0]]
    if report[0] == "tdx_guest" and report[1][:2] == bytes((5, 0)):
        at += 6  # Version 5 says kind and length of what follows.
    named = hashlib.sha512(REPORT + statement.encode()).digest()
    need(report[1][at : at + 64] == named, "a report of this statement")


# The document.


def is_bytes(value):
    return isinstance(value, bytes)


def is_hash(value):
    return is_bytes(value) and len(value) == 32


def has_shape(document):
    members = {0, 1, 2, 3, 4, 5}
    if not (isinstance(document, dict) and {0, 1, 2, 3} <= document.keys() <= members):
        return False
    report = document.get(5)
    if report is not None and not (
        isinstance(report, dict)
        and report.keys() == {0, 1, 2}
        and isinstance(report[0], str)
        and is_bytes(report[1])
        and is_bytes(report[2])
    ):
        return False
    tpm = document.get(4)
    right = tpm is None or (
        isinstance(tpm, dict)
        and tpm.keys() == {0, 1, 2, 3, 4}
        and all(is_bytes(tpm[member]) for member in (0, 1, 2, 4))
        and isinstance(tpm[3], list)
        and all(
            isinstance(item, dict)
            and item.keys() == {0, 1}
            and isinstance(item[0], int)
            and is_hash(item[1])
            for item in tpm[3]
        )
    )
    return right and document[0] == KIND and isinstance(document[1], str) and is_hash(document[2]) and is_bytes(document[3])


def digits(text):
    data = bytes.fromhex(text)
    need(is_hash(data) and data.hex() == text, "64 digits")
    return data


def statement_of(text):
    """A statement in its one spelling."""
    try:
        statement = json.loads(text)
        again = json.dumps(statement, separators=(",", ":"), ensure_ascii=False)
        need(again == text and list(statement) == MEMBERS and statement["v"] == 1, "one spelling")
        launch = statement["launch"]
        need(list(launch) == ["wrapper", "pod", "container"], "a launch")
        session, sealing = digits(statement["session"]), digits(statement["sealing"])
        wrapper = launch["wrapper"] and digits(launch["wrapper"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Odd("a statement") from error
    return session, sealing, launch["pod"], wrapper


def verify(document, uses, ed25519_verifies):
    """Holds a document against what the receipts say that name it: session, recipient, pod, wrapper."""
    need(has_shape(document), "a document of a node")
    message = STATEMENT + document[1].encode()
    need(ed25519_verifies(document[2], message, document[3]), "the node's signature")
    session, sealing, pod, wrapper = statement_of(document[1])
    for receipt in uses:
        need(session == receipt["session"], "a statement of this session")
        need(receipt["recipient"] == sealing, "a statement of this sealing key")
        need(pod is not None and pod == receipt["pod"], "a statement of this pod")
        known = receipt["wrapper"]
        need(known is None or wrapper is None or known == wrapper, "a statement of this wrapper")
    if 4 in document:
        verify_quote(document[4], document[1])
    if 5 in document:
        verify_report(document[5], document[1])
    return 4 in document, 5 in document
