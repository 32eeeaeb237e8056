#!/usr/bin/env python3
"""Verifies cloudtaser evidence, with nothing but Python's standard library.

A second reading of docs/protocol/evidence.md, by other means than the product: it is there so that
an auditor needs to trust neither the product nor its language. It verifies signatures, quorum,
proofs, chains, openings and documents (those of nodes by node_evidence.py, which lies beside it), and
counts; it draws no claims. Of a report of a confidential machine it verifies what it was made for, and
not AMD's and Intel's signatures: those are counted as not verified.

    python3 verify_evidence.py EVIDENCE POLICY [--later BUNDLE]...

A later bundle of the same log shows that EVIDENCE is of its past, where the log's key was replaced
since and no witness of the policy signed.

Exit: 0 it verifies, 64 usage, 77 refused.
"""

import base64
import hashlib
import json
import sys

import node_evidence


class Refused(Exception):
    """The evidence is not to be believed."""


def need(condition, why):
    if not condition:
        raise Refused(why)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused("base64") from error
    need(base64.b64encode(data).decode() == text, "base64 has one form")
    return data


def number(text):
    need(text.isascii() and text.isdigit() and (text == "0" or text[0] != "0"), "a number")
    need(int(text) < 1 << 64, "a number of 64 bits")
    return int(text)


# Ed25519 (RFC 8032), verification only.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def point_add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def point_mul(scalar, p):
    q = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            q = point_add(q, p)
        p = point_add(p, p)
        scalar >>= 1
    return q


def same_point(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def point(data):
    """A point from its 32 bytes; none where they are not its one form."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if len(data) != 32 or y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519_verifies(key, message, signature):
    a, r = point(key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= L:
        return False
    # Of small order: then many messages would verify.
    if any(same_point(point_mul(8, p), (0, 1, 1, 0)) for p in (a, r)):
        return False
    hashed = hashlib.sha512(signature[:32] + key + message).digest()
    k = int.from_bytes(hashed, "little") % L
    return same_point(point_mul(s, BASE), point_add(r, point_mul(k, a)))


# Signed notes, checkpoints and policies (C2SP).

LOG, WITNESS = 1, 4


def is_key_name(name):
    return name != "" and "+" not in name and not any(c.isspace() or ord(c) < 32 for c in name)


def verifier_key(text):
    parts = text.split("+", 2)
    need(len(parts) == 3, "a key is name+id+base64")
    name, key_id, data = parts[0], parts[1], unbase64(parts[2])
    need(is_key_name(name) and len(data) == 33 and data[0] in (LOG, WITNESS), "a key")
    expected = sha256(name.encode(), b"\n", data)[:4]
    need(key_id == expected.hex(), "the id of a key")
    return {"name": name, "id": expected, "kind": data[0], "key": data[1:]}


def parse_note(note):
    need(not any(c < " " and c != "\n" for c in note), "a note has no control characters")
    text, gap, lines = note.rpartition("\n\n")
    need(gap and lines.endswith("\n"), "a note ends with signatures")
    signatures = []
    for line in lines[:-1].split("\n"):
        words = line.split(" ")
        need(len(words) == 3 and words[0] == "\u2014" and is_key_name(words[1]), "a signature")
        data = unbase64(words[2])
        need(len(data) >= 4, "a signature has a key's id")
        signatures.append((words[1], data[:4], data[4:]))
    return text + "\n", signatures


def checkpoint(note):
    text, signatures = parse_note(note)
    lines = text.split("\n")
    need(len(lines) == 4 and lines[0] != "" and lines[3] == "", "a checkpoint has three lines")
    root = unbase64(lines[2])
    need(len(root) == 32, "a root has 32 bytes")
    return {
        "origin": lines[0],
        "size": number(lines[1]),
        "root": root,
        "text": text,
        "signatures": signatures,
    }


def signed_by(point_in_time, key):
    """Whether it is signed by this key; a false signature in its name is a refusal."""
    found = None
    for name, key_id, data in point_in_time["signatures"]:
        if (name, key_id) != (key["name"], key["id"]):
            continue
        message = point_in_time["text"]
        when = 0
        if key["kind"] == WITNESS:
            need(len(data) == 72, "a cosignature has a time and 64 bytes")
            when, data = int.from_bytes(data[:8], "big"), data[8:]
            need(when < 1 << 63, "a time")
            message = f"cosignature/v1\ntime {when}\n{message}"
        need(ed25519_verifies(key["key"], message.encode(), data), f"a signature by {name}")
        found = when if found is None else min(found, when)
    return found


def parse_policy(text):
    logs, former, witnesses, members, quorum = [], [], {}, {}, None
    for line in text.split("\n"):
        words = line.replace("\t", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "log" and len(words) in (2, 3):
            logs.append(verifier_key(words[1]))
        elif words[0] == "was" and len(words) == 3:
            former.append((verifier_key(words[1]), number(words[2])))
        elif words[0] == "witness" and len(words) in (3, 4):
            witnesses[words[1]] = verifier_key(words[2])
            members[words[1]] = None
        elif words[0] == "group" and len(words) > 3:
            group = words[3:]
            least = {"all": len(group), "any": 1}.get(words[2]) or number(words[2])
            need(all(name in members for name in group) and 1 <= least <= len(group), "a group")
            members[words[1]] = (least, group)
        elif words[0] == "quorum" and len(words) == 2:
            need(quorum is None and (words[1] == "none" or words[1] in members), "a quorum")
            quorum = words[1]
        else:
            raise Refused("a line of the policy")
    need(quorum is not None, "a policy has a quorum")
    keys = [key["key"] for key in logs + [key for key, _ in former]]
    need(len(set(keys)) == len(keys), "a key once")
    return {
        "logs": logs,
        "former": former,
        "witnesses": witnesses,
        "members": members,
        "quorum": quorum,
    }


def signed_until(signed, policy):
    """Checks that a log of the policy signed; up to which size, where its key was replaced since."""
    own = [(log, None) for log in policy["logs"]] + policy["former"]
    for log, until in own:
        if log["name"] == signed["origin"] and signed_by(signed, log) is not None:
            return until
    raise Refused("a known log signed it")


def place(signed):
    return signed["origin"], signed["size"], signed["root"]


def believe(signed, policy, past=()):
    """Checks a checkpoint against the policy; tells which witnesses signed it, and when."""
    witnesses, members, quorum = (policy[name] for name in ("witnesses", "members", "quorum"))
    until = signed_until(signed, policy)
    need(until is None or signed["size"] <= until, "a key that had not been replaced by then")
    times = {name: signed_by(signed, key) for name, key in witnesses.items()}
    seen = {name: when for name, when in times.items() if when is not None}

    def met(name):
        if members[name] is None:
            return name in seen
        least, group = members[name]
        return sum(met(member) for member in group) >= least

    need(quorum == "none" or met(quorum), "the policy's quorum")
    if until is not None and quorum == "none":
        # The signature of a key that is out of use shows nothing by itself.
        need(place(signed) in past, "witnesses or a later bundle, where the log's key was replaced since")
        return {}
    return seen


# The tree (RFC 6962, with the algorithms of RFC 9162).


def node(left, right):
    return sha256(b"\1", left, right)


def verify_inclusion(leaf, index, size, root, path):
    need(index < size, "a position inside the log")
    first, last, found = index, size - 1, leaf
    for other in path:
        need(last > 0, "the length of a proof")
        if first & 1 or first == last:
            found = node(other, found)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            found = node(found, other)
        first, last = first >> 1, last >> 1
    need(last == 0 and found == root, "a proof leads to the root")


def verify_consistency(old, old_root, size, root, path):
    need(old <= size, "an older checkpoint")
    if old == 0 or old == size:
        expected = root if old else sha256(b"")
        need(not path and (old_root == expected), "the same log then and now")
        return
    first, last, path = old - 1, size - 1, list(path)
    while first & 1:
        first, last = first >> 1, last >> 1
    if old & (old - 1):
        need(path, "a proof")
        before = now = path.pop(0)
    else:
        before = now = old_root
    for other in path:
        need(last > 0, "the length of a proof")
        if first & 1 or first == last:
            before, now = node(other, before), node(other, now)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            now = node(now, other)
        first, last = first >> 1, last >> 1
    need(last == 0 and before == old_root and now == root, "the log only grew")


# Deterministic CBOR (RFC 8949 §4.2): unsigned integers, bytes, text, arrays, maps with rising keys.


def decode(data, at=0, depth=0):
    need(at < len(data) and depth < 16, "CBOR")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    value = info
    if info >= 24:
        need(info <= 27, "CBOR of a known length")
        length = 1 << (info - 24)
        need(at + length <= len(data), "CBOR that is whole")
        value = int.from_bytes(data[at : at + length], "big")
        at += length
        need(value >= (24 if length == 1 else 1 << (4 * length)), "the shortest form of a number")
    if major == 0:
        return value, at
    if major in (2, 3):
        need(at + value <= len(data), "CBOR that is whole")
        item = data[at : at + value]
        if major == 2:
            return bytes(item), at + value
        try:
            return item.decode(), at + value
        except UnicodeDecodeError as error:
            raise Refused("UTF-8") from error
    if major == 4:
        items = []
        for _ in range(value):
            item, at = decode(data, at, depth + 1)
            items.append(item)
        return items, at
    need(major == 5, "CBOR of a known kind")
    items, before = {}, -1
    for _ in range(value):
        key, at = decode(data, at, depth + 1)
        need(isinstance(key, int) and key > before, "keys that rise")
        items[key], at = decode(data, at, depth + 1)
        before = key
    return items, at


def decode_all(data):
    value, at = decode(data)
    need(at == len(data), "nothing after the end")
    return value


def is_name(value):
    short = isinstance(value, str) and 1 <= len(value.encode()) <= 253
    return short and not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value)


def is_hash(value):
    return isinstance(value, bytes) and len(value) == 32


def is_number(value):
    return isinstance(value, int)


def is_map(required, optional=None):
    optional = optional or {}

    def check(value):
        known = {**required, **optional}
        return (
            isinstance(value, dict)
            and required.keys() <= value.keys() <= known.keys()
            and all(known[key](item) for key, item in value.items())
        )

    return check


def is_list(check, most=None):
    return lambda value: (
        isinstance(value, list)
        and (most is None or len(value) <= most)
        and all(check(item) for item in value)
    )


def is_decision(value):
    return value == [0] or (
        isinstance(value, list) and len(value) == 2 and value[0] == 1 and is_name(value[1])
    )


def is_rows(value):
    return isinstance(value, list) and len(value) == 6 and all(v in (0, 1, 2) for v in value)


DRAFT = is_map(
    {
        0: is_name,
        1: is_map({0: is_name, 1: is_name, 2: is_name}),
        2: is_name,
        3: is_list(is_map({0: is_hash}, {1: is_number, 2: is_name}), 64),
        4: is_hash,
        5: is_rows,
        6: lambda value: value in (0, 1, 2, 3, 4),
        8: is_hash,
        10: is_decision,
    },
    {
        7: is_hash,
        9: is_hash,
        11: is_hash,
        12: is_name,
        13: is_map({0: is_name, 1: is_hash}),
        20: lambda value: value != []
        and is_list(is_map({0: lambda kind: kind in (0, 1), 1: is_hash}), 16)(value),
    },
)
RECEIPT = is_map({0: lambda v: v == 1, 1: is_number, 2: is_number, 4: DRAFT}, {3: is_hash})
SAID = is_map({0: is_name, 1: is_name}, {2: is_hash, 3: is_hash, 4: is_name})
NOTICE = is_map({0: lambda v: v == 1, 1: is_number, 2: is_number, 5: SAID}, {3: is_hash})
BUNDLE = is_map(
    {
        0: lambda value: isinstance(value, str),
        1: is_list(
            is_map({0: is_number, 1: lambda v: isinstance(v, bytes), 2: is_list(is_hash, 63)})
        ),
        2: is_list(is_map({0: is_name, 1: is_list(is_name), 2: is_hash})),
        3: is_list(lambda value: isinstance(value, bytes)),
        4: is_list(is_map({0: lambda v: isinstance(v, str), 1: is_list(is_hash, 63)})),
    }
)


# Evidence.

MAGIC = b"cloudtaser evidence 1\n"


class Count:
    """Receipts so far, and whether they contradict each other."""

    def __init__(self):
        self.receipts = self.released = self.missing = 0
        self.range = None
        self.clusters = {}
        self.names = {}
        self.evidence = {}
        self.key_changes = {}
        self.notices = self.nodes = self.quotes = self.reports = 0
        self.orders = {}

    def add(self, index, leaf):
        need(len(leaf) <= 16384, "a receipt's length")
        receipt = decode_all(leaf)
        notice = NOTICE(receipt)
        need(notice or RECEIPT(receipt), "a receipt or a notice")
        sequence, time = receipt[1], receipt[2]
        stream = "@bridge" if notice else receipt[4][0]
        need((sequence == 0) == (3 not in receipt), "a first receipt, and no other, has none before")
        first = index if self.range is None else self.range[0]
        complete = index - first == self.receipts + self.notices
        before = self.clusters.get(stream)
        if before:
            need(sequence > before[0] and time >= before[1], "numbers and times rise")
            if sequence == before[0] + 1:
                need(receipt[3] == before[2], "the receipt before")
            need(sequence == before[0] + 1 or not complete, "no gap")
            self.missing += sequence - before[0] - 1
        else:
            need(sequence == 0 or not complete or first > 0, "no gap at the beginning")
        self.clusters[stream] = (sequence, time, sha256(b"\0", leaf))
        self.range = (first, index)
        if notice:
            self.notices += 1
            if receipt[5][0] == "break-glass" and 2 in receipt[5]:
                self.orders.setdefault(receipt[5][2], [1, None, None])
            if receipt[5][0] == "new-key" and 2 in receipt[5]:
                self.key_changes.setdefault(receipt[5][2], index + 1)
            return
        draft = receipt[4]
        self.receipts += 1
        released = draft[10] == [0]
        self.released += released
        for secret in draft[3]:
            self.names[secret[0]] = self.names.get(secret[0], 0) + released
        if 9 in draft:
            uses = {
                "session": draft[8],
                "recipient": draft.get(13, {}).get(1),
                "pod": draft[1][2],
                "wrapper": draft.get(7),
            }
            self.evidence.setdefault(draft[9], []).append(uses)
        for order in draft.get(20, []):
            known = self.orders.setdefault(order[1], [order[0], None, None])
            known[1] = time if known[1] is None else known[1]
            known[2] = time


def verify_order(document, known):
    """What people signed: the signature, its kind, and that decisions were within its time."""
    try:
        kept = json.loads(document)
        order = json.loads(kept["order"])
        need(kept["key"].startswith("ed25519:"), "an order's key")
        key, signature = unbase64(kept["key"][8:]), bytes.fromhex(kept["signature"])
        kind = 0 if "approve" in order["act"] else 1
        begins, ends = order["from"], order["until"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("an order") from error
    message = b"cloudtaser release order, version 1\n" + kept["order"].encode()
    need(ed25519_verifies(key, message, signature), "the signature of an order")
    need(kind == known[0], "an order of the kind that receipts say")
    if known[1] is not None:
        need(known[1] >= (begins - 300) * 1000, "an order that had begun")
        need(known[2] <= (ends + 300) * 1000, "an order that had not ended")


def is_text(value):
    return isinstance(value, str)


def is_bytes(value):
    return isinstance(value, bytes)


KEY_CHANGE = is_map({0: is_text, 1: is_text, 2: is_text, 3: is_bytes, 4: is_bytes})


def verify_key_change(document, size, origin, policy):
    """That both keys signed it, and that it is where the policy says."""
    change = decode_all(document)
    need(KEY_CHANGE(change) and change[0] == "cloudtaser log key change 1", "a change of keys")
    old, new = verifier_key(change[1]), verifier_key(change[2])
    need(old["kind"] == new["kind"] == LOG and old["key"] != new["key"], "two keys of a log")
    need(old["name"] == new["name"] == origin, "keys of this log")
    text = f"cloudtaser log key change, version 1\n{change[1]}\n{change[2]}\n".encode()
    for key, signature in ((old, change[3]), (new, change[4])):
        need(ed25519_verifies(key["key"], text, signature), "a change that both keys signed")
    for key, until in policy["former"]:
        need(key["key"] != old["key"] or until == size, "a change where the policy says")


def verify_document(document, count, origin, policy):
    """One document, by what names it; whether a node signed it, a TPM, and a processor."""
    name = sha256(document)
    if name in count.key_changes:
        verify_key_change(document, count.key_changes[name], origin, policy)
        return False, False, False
    if name in count.orders:
        verify_order(document, count.orders[name])
        return False, False, False
    need(name in count.evidence, "a document that a receipt names")
    if document[1:].startswith(node_evidence.MARK):
        content = decode_all(document)
        try:
            found = node_evidence.verify(content, count.evidence[name], ed25519_verifies)
            return True, *found
        except node_evidence.Odd as error:
            raise Refused(str(error)) from error
    return False, False, False


def opening_hash(opening):
    message = b""
    for text in [opening[0], *opening[1]]:
        message += len(text.encode()).to_bytes(4, "big") + text.encode()
    return sha256(b"cloudtaser name v1\0", opening[2], message)


def verify_bundle(data, policy, past=()):
    need(len(data) > 32 and sha256(data[:-32]) == data[-32:], "the hash at the end")
    bundle = decode_all(data[len(MAGIC) : -32])
    need(BUNDLE(bundle), "a bundle")
    signed = checkpoint(bundle[0])
    seen = believe(signed, policy, past)
    count, last = Count(), -1
    for item in bundle[1]:
        need(item[0] > last, "positions that rise")
        last = item[0]
        leaf = sha256(b"\0", item[1])
        verify_inclusion(leaf, item[0], signed["size"], signed["root"], item[2])
        count.add(item[0], item[1])
    names = {}
    for opening in bundle[2]:
        need(opening[1] == sorted(set(opening[1]), key=str.encode), "fields in order")
        found = count.names.get(opening_hash(opening))
        need(found is not None, "an opening of a name that is here")
        names[opening[0] + "#" + ",".join(opening[1])] = found
    for document in bundle[3]:
        signed_it, quoted, reported = verify_document(document, count, signed["origin"], policy)
        count.nodes += signed_it
        count.quotes += quoted
        count.reports += reported
    grown = []
    for earlier in bundle[4]:
        older = checkpoint(earlier[0])
        need(older["origin"] == signed["origin"], "an older checkpoint of the same log")
        until = signed_until(older, policy)
        need(until is None or older["size"] <= until, "a key that had not been replaced by then")
        verify_consistency(
            older["size"], older["root"], signed["size"], signed["root"], earlier[1]
        )
        grown.append(older["size"])
    return signed, seen, count, names, grown


def proved_by(data, policy):
    """Checkpoints that a later bundle proves: its own, and those that it grew from."""
    need(data.startswith(MAGIC), "a later bundle")
    verify_bundle(data, policy)
    bundle = decode_all(data[len(MAGIC) : -32])
    notes = [bundle[0], *(earlier[0] for earlier in bundle[4])]
    return {place(checkpoint(note)) for note in notes}


def verify_proof(text, policy, past=()):
    head, gap, note = text.partition("\n\n")
    lines = head.split("\n")
    need(gap and lines[0] == "c2sp.org/tlog-proof@v1" and len(lines) >= 3, "a tlog-proof")
    need(lines[1].startswith("extra ") and lines[2].startswith("index "), "extra and index")
    leaf, index = unbase64(lines[1][6:]), number(lines[2][6:])
    path = [unbase64(line) for line in lines[3:]]
    need(len(path) <= 63 and all(len(other) == 32 for other in path), "hashes of a proof")
    signed = checkpoint(note)
    seen = believe(signed, policy, past)
    verify_inclusion(sha256(b"\0", leaf), index, signed["size"], signed["root"], path)
    count = Count()
    count.add(index, leaf)
    return signed, seen, count, {}, []


def main(arguments):
    given, later = arguments[:2], arguments[2::2]
    files = arguments[3::2]
    if len(given) != 2 or later != ["--later"] * len(files):
        print(__doc__, file=sys.stderr)
        return 64
    try:
        with open(given[0], "rb") as file:
            data = file.read()
        with open(given[1], encoding="utf-8", newline="") as file:
            policy = file.read()
        bundles = []
        for name in files:
            with open(name, "rb") as file:
                bundles.append(file.read())
    except (OSError, ValueError) as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 64
    try:
        policy = parse_policy(policy)
        past = set().union(*(proved_by(bundle, policy) for bundle in bundles))
        if data.startswith(MAGIC):
            found = verify_bundle(data, policy, past)
        else:
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                raise Refused("UTF-8") from error
            found = verify_proof(text, policy, past)
    except Refused as error:
        print(f"refused: what is needed and not there: {error}", file=sys.stderr)
        return 77
    signed, seen, count, names, grown = found
    result = {
        "log": signed["origin"],
        "size": signed["size"],
        "root": signed["root"].hex(),
        "witnesses": seen,
        "receipts": count.receipts,
        "released": count.released,
        "notices": count.notices,
        "nodes": count.nodes,
        "quotes": count.quotes,
        "reports_not_verified": count.reports,
        "keys_changed": len(count.key_changes),
        "missing": count.missing,
        "names": names,
        "grown_from": grown,
    }
    print(json.dumps(result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
