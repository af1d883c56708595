// A real OpenID Connect provider: oidc-provider, with its own pages for login and consent.
//
//   node provider.mjs ISSUER REDIRECT_URI [CERTIFICATE KEY]
//
// Who logs in as NAME gets the subject u-NAME, an address and the groups below.
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.MODULES + "/");
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const [issuer, redirect, certificate, key] = process.argv.slice(2);
const { hostname, port } = new URL(issuer);
const GROUPS = {
  jane: ["stewards", "data-stewards", "auditors"], tom: ["developers"], amy: ["auditors"], olga: ["data-stewards"],
};
// Seconds that an ID token of these people counts.
const SHORT = { brief: 40 };

const provider = new Provider(issuer, {
  clients: ["weir", "other"].map((id) => ({
    client_id: id,
    client_secret: `${id}-secret`,
    redirect_uris: [redirect],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
  })),
  conformIdTokenClaims: false,
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: `u-${id}`, email: `${id}@corp.example`, email_verified: true, name: id, groups: GROUPS[id] || [],
    }),
  }),
  pkce: { required: () => true },
  ttl: { IdToken: (_, token) => SHORT[token.available?.name] || 3600 },
  features: { devInteractions: { enabled: true } },
  cookies: { keys: ["browser-tests"] },
});
const server = certificate
  ? https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, provider.callback())
  : http.createServer(provider.callback());
server.listen(Number(port), hostname, () => console.log("provider: ready"));
