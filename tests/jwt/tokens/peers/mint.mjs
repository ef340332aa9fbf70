// Mints one token of each algorithm with jose, as JSON lines: see `tests/jwt_peers.rs`.

import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The modules are where the script is started, not beside it.
const here = createRequire(`${process.cwd()}/`);
const { SignJWT } = await import(pathToFileURL(here.resolve("jose")).href);
const { version } = JSON.parse(readFileSync(`${process.cwd()}/node_modules/jose/package.json`));

const keys = new URL("../keys/", import.meta.url);
const secret = new TextEncoder().encode(
  "a secret of these tests, and of nothing else in the world, 64 by",
);
const files = { ES256: "p256", ES384: "p384", EdDSA: "ed25519" };
const algorithms = [
  "HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
  "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

for (const algorithm of algorithms) {
  const key = algorithm.startsWith("HS")
    ? secret
    : createPrivateKey(readFileSync(new URL(`${files[algorithm] ?? "rsa"}.pem`, keys)));
  const token = await new SignJWT({})
    .setProtectedHeader({ alg: algorithm, kid: "k", typ: "JWT" })
    .setIssuer("https://id.example")
    .setAudience(["api", "other"])
    .setSubject("grüße@example")
    .setIssuedAt(1_700_000_000)
    .setExpirationTime(4_102_444_800)
    .sign(key);
  console.log(JSON.stringify({ peer: `jose ${version}`, algorithm, token }));
}
