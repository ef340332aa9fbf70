"""Random tokens, and what PyJWT behind strict base64url and JSON makes of each, as JSON lines: see
`tests/jwt/peers.rs`. Deterministic: `differ.py COUNT` writes the same tokens whenever it runs."""

import base64
import hashlib
import hmac
import json
import random
import re
import sys

import jwt

SECRET = b"a secret of these tests, and of nothing else in the world, 64 by"
ISSUER, AUDIENCE = "https://id.example", "api"
LATER, BEFORE = 4_102_444_800, 1_000_000_000
rng = random.Random(7519)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def number():
    whole = rng.choice([0, 1, 7, BEFORE, LATER, rng.randrange(1 << 40), rng.randrange(1 << 70)])
    sign = rng.choice(["", "", "", "-"])
    fraction = rng.choice(["", "", ".0", ".5", ".999999999999999999999", ".000"])
    exponent = rng.choice(["", "", "", "e0", "E+2", "e-2", "e9", "e400", "e-400"])
    return f"{sign}{whole}{fraction}{exponent}".encode()


def text():
    pieces = [b"a", b"alice", b"\xc3\xbc", b"\xf0\x9f\x98\x80", b"\\u00fc", b"\\ud83d\\ude00",
              b"\\\\", b"\\\"", b"\\/", b"\\n", b" ", b".", b"7"]
    if rng.random() < 0.08:
        pieces += [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\\ud83d", b"\\ude00", b"\x00",
                   b"\n", b"\\x", b"\\u12"]
    return b'"' + b"".join(rng.choice(pieces) for _ in range(rng.randrange(5))) + b'"'


def value(depth=0):
    kind = rng.randrange(9 if depth < 4 else 6)
    if kind < 2:
        return number()
    if kind < 4:
        return text()
    if kind == 4:
        return rng.choice([b"null", b"true", b"false"])
    if kind == 5:
        odd = [b"NaN", b"01", b"1.", b"-", b"+1", b"", b"'x'", b"tru", b"Infinity"]
        return rng.choice(odd) if rng.random() < 0.1 else b"{}"
    if kind == 6:
        return b"[" + b",".join(value(depth + 1) for _ in range(rng.randrange(3))) + b"]"
    members = [(text(), value(depth + 1)) for _ in range(rng.randrange(3))]
    return join(members)


def join(members):
    comma, colon = rng.choice([(b",", b":"), (b" ,\t", b" : "), (b",\n", b":")])
    return b"{" + comma.join(name + colon + value for name, value in members) + b"}"


def some(good, *others):
    return good if rng.random() < 0.85 else rng.choice([*others, value(), None])


def time(*often):
    spelled = [b"", b".0", b".5", b"e0", b".25E0"]
    return some(str(rng.choice(often)).encode() + rng.choice(spelled), number(), text(), b'"%d"' % LATER)


def document(members):
    members = [(b'"%s"' % name.encode(), value) for name, value in members if value is not None]
    for _ in range(rng.choice([0, 0, 1, 3])):
        members.append((text(), value()))
    if rng.random() < 0.04:
        members.append(rng.choice(members) if members else (b'"x"', b"1"))
    rng.shuffle(members)
    whole = join(members)
    if rng.random() < 0.03:
        whole = rng.choice([whole[:-1], whole + b"x", b"\xef\xbb\xbf" + whole, b"[]", b"", whole * 2,
                            b" " + whole + b"\n", whole.decode("utf-8", "replace").encode("utf-16")])
    return whole


def token():
    header = document([
        ("alg", some(b'"HS256"', b'"none"', b'"hs256"', b'"HS512"')),
        ("typ", rng.choice([b'"JWT"', b'"at+jwt"', None, value()])),
        ("kid", rng.choice([None, None, None, text(), value()])),
        (rng.choice(["jku", "x5t", "cty", "nonce"]), rng.choice([None, value()])),
        ("crit", value() if rng.random() < 0.02 else None),
        ("b64", value() if rng.random() < 0.02 else None),
    ])
    payload = document([
        ("iss", some(b'"%s"' % ISSUER.encode(), b'"https://evil.example"')),
        ("aud", some(b'"api"', b'["x","api"]', b'["x"]', b'["api",7]', b"[]", b'"API"')),
        ("sub", some(b'"alice"', b'"b\\u00fcrger"', b"7", text())),
        ("exp", time(LATER, LATER, LATER, BEFORE)),
        ("nbf", rng.choice([None, None, time(BEFORE, BEFORE, LATER)])),
        ("iat", rng.choice([None, time(BEFORE), value()])),
        ("jti", rng.choice([None, text(), value()])),
        ("sid", rng.choice([None, text(), value()])),
        ("cnf", value() if rng.random() < 0.02 else None),
    ])
    message = encode(header) + b"." + encode(payload)
    made = message + b"." + encode(hmac.new(SECRET, message, hashlib.sha256).digest())
    if rng.random() < 0.1:
        at = rng.randrange(len(made))
        made = rng.choice([
            made[:at] + bytes([rng.choice(b"Aa0-_.=+/~ ")]) + made[at + 1:], made[:at] + made[at + 1:],
            made + b"=", made + b".", made[:-1], b"." + made, made.replace(b".", b"..", 1), made[:at],
        ])
    return made.decode()


class Members(dict):
    repeated = False


def unique(pairs):
    members = Members(pairs)
    members.repeated = len(members) != len(pairs)
    return members


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def strict(part):
    """One JSON object in UTF-8 with unique members, in base64url that has one spelling."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", part) or len(part) % 4 == 1:
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if encode(data).decode() != part:
        raise ValueError("base64url of another spelling")
    return data


def strict_object(part):
    members = json.loads(strict(part).decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(members, Members) or members.repeated:
        raise ValueError("not an object with unique members")
    # Halves of surrogate pairs can't be encoded.
    json.dumps(members, ensure_ascii=False).encode("utf-8")
    return members


def user(sent):
    header, payload, signature = sent.split(".")
    strict_object(header), strict_object(payload), strict(signature)
    # What the crate reads only where it is asked for is not looked at.
    options = {"require": ["exp", "iss", "aud", "sub"], "verify_iat": False, "verify_jti": False}
    claims = jwt.decode(sent, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER,
                        leeway=30, options=options)
    return claims["sub"]


for _ in range(int(sys.argv[1])):
    sent = token()
    try:
        print(json.dumps({"token": sent, "user": user(sent)}))
    except Exception as why:  # PyJWT lets some of Python's own through.
        print(json.dumps({"token": sent, "user": None, "why": f"{type(why).__name__}: {why}"[:120]}))
