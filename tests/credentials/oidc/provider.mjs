// An OpenID provider on loopback, with everybody's log-in accepted: `oidc-provider` and what it leaves
// to its users. It prints its issuer once it listens, and ends when its standard input does.
//
// With BACKCHANNEL_LOGOUT_URI it tells the client `web` there who has logged out.
//
// POST /test/rotate adds a signing key, which is used from then on; POST /test/withdraw removes the
// others. GET /test/client-key is the private key of the client that has no secret.

import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider } from "oidc-provider";

const API = "https://orders.example";
const REPORTS = "https://reports.example";

function key() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), alg: "ES256", use: "sig" };
}

const clientKey = generateKeyPairSync("ec", { namedCurve: "P-256" });

/** A client that asks about tokens, and gets none. */
function resourceServer(id, members) {
  return {
    client_id: id,
    redirect_uris: [],
    grant_types: [],
    response_types: [],
    id_token_signed_response_alg: "ES256",
    ...members,
  };
}

const clients = [
  {
    client_id: "web",
    client_secret: "a secret of these tests, and of nothing else",
    redirect_uris: ["https://web.example/callback"],
    grant_types: ["authorization_code", "refresh_token", "client_credentials"],
    response_types: ["code"],
    id_token_signed_response_alg: "ES256",
    ...(process.env.BACKCHANNEL_LOGOUT_URI && {
      backchannel_logout_uri: process.env.BACKCHANNEL_LOGOUT_URI,
      backchannel_logout_session_required: true,
    }),
  },
  resourceServer("by-basic", {
    client_secret: "another secret: of these tests & more",
    token_endpoint_auth_method: "client_secret_basic",
  }),
  resourceServer("by-post", {
    client_secret: "another secret: of these tests & more",
    token_endpoint_auth_method: "client_secret_post",
  }),
  resourceServer("by-key", {
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [clientKey.publicKey.export({ format: "jwk" })] },
  }),
];

const server = createServer();
await new Promise((resolve) => server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

let keys = [key()];
let provider = make();

function make() {
  return new Provider(issuer, {
    clients,
    // The first key that fits signs.
    jwks: { keys },
    cookies: { keys: ["a key of these tests"] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    ttl: { AccessToken: 600, Grant: 600, IdToken: 600, Interaction: 600, RefreshToken: 600, Session: 600 },
    // Its dispatcher refuses loopback, where the client of these tests is.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    issueRefreshToken: () => true,
    // An access token has the session of its log-in, as the ID token does.
    extraTokenClaims: ({ oidc }) => {
      const sid = oidc.entities.AuthorizationCode?.sid;
      return sid && { sid };
    },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        // For one resource, an access token is a JSON Web Token (RFC 9068); for the other, and for none,
        // it is opaque.
        getResourceServerInfo: (_, resource) => ({
          audience: resource,
          scope: "orders:read orders:write",
          accessTokenFormat: resource === REPORTS ? "opaque" : "jwt",
          accessTokenTTL: 600,
          ...(resource === API && { jwt: { sign: { alg: "ES256" } } }),
        }),
      },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  });
}

/** Logs in whom `login_hint` names, and consents to everything. */
async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    const login = { accountId: params.login_hint };
    return provider.interactionFinished(request, response, { login });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  if (params.resource) grant.addResourceScope(params.resource, params.scope);
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent });
}

server.on("request", async (request, response) => {
  try {
    if (request.url.startsWith("/interaction/")) return await interact(request, response);
    if (request.url === "/test/client-key") {
      return response.end(clientKey.privateKey.export({ format: "pem", type: "pkcs8" }));
    }
    if (request.url === "/test/rotate") keys = [key(), ...keys];
    if (request.url === "/test/withdraw") keys = keys.slice(0, 1);
    if (request.url.startsWith("/test/")) {
      provider = make();
      return response.end();
    }
    provider.callback()(request, response);
  } catch (error) {
    console.error(error);
    response.writeHead(500).end();
  }
});

console.log(issuer);
process.stdin.on("end", () => process.exit()).resume();
