"""Mints one token of each algorithm with PyJWT, as JSON lines: see `tests/jwt_peers.rs`."""

import json
import pathlib

import jwt

KEYS = pathlib.Path(__file__).parent.parent / "keys"
SECRET = b"a secret of these tests, and of nothing else in the world, 64 by"
PRIVATE = {"ES256": "p256", "ES384": "p384", "EdDSA": "ed25519"}
ALGORITHMS = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
    "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
]
# The first second of the year 2100.
CLAIMS = {
    "iss": "https://id.example", "aud": "api", "sub": "grüße@example", "iat": 1_700_000_000,
    "exp": 4_102_444_800,
}

for algorithm in ALGORITHMS:
    if algorithm.startswith("HS"):
        key = SECRET
    else:
        key = (KEYS / f"{PRIVATE.get(algorithm, 'rsa')}.pem").read_bytes()
    token = jwt.encode(CLAIMS, key, algorithm=algorithm, headers={"kid": "k"})
    print(json.dumps({"peer": f"PyJWT {jwt.__version__}", "algorithm": algorithm, "token": token}))
