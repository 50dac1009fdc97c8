/**
 * Backend (sluice.dev/v1alpha1): where a version runs. The fields are those of Envoy Gateway's
 * Backend, with `version`: the label of what runs there, a change of which begins a new revision.
 */
import { z } from "zod";
import { conditionStatus } from "./condition.ts";
import { ipAddress, preciseHostname } from "./format.ts";
import { column, conditionColumn, defineKind, type Typed } from "./kind.ts";
import { SLUICE_GROUP } from "./reference.ts";
import {
  across,
  choice,
  object,
  port,
  type Refuse,
  refuseDuplicates,
  text,
  throughout,
  words,
} from "./schema.ts";
import { localAuthorityReference } from "./tls.ts";

/** sun_path holds 108 bytes on Linux, the last of them NUL (unix(7)). */
const UNIX_PATH_LENGTH_MAX = 107;

const endpointFields = object(
  {
    ip: object({
      address: ipAddress().describe("IPv4 or IPv6 address."),
      port: port().describe("Port, 1 to 65535."),
    })
      .exactOptional()
      .describe("An IP address and port."),
    fqdn: object({
      hostname: preciseHostname().describe("Name to look up in DNS."),
      port: port().describe("Port, 1 to 65535."),
    })
      .exactOptional()
      .describe("A DNS name and port."),
    unix: object({
      path: text(/^\/[^\0]*$/, "an absolute path", UNIX_PATH_LENGTH_MAX).describe(
        "Path of the socket.",
      ),
    })
      .exactOptional()
      .describe("A Unix domain socket."),
  },
  { unsupported: ["hostname", "zone", "weight"] },
);

type Endpoint = z.infer<typeof endpointFields>;

const endpoint = endpointFields
  .superRefine(
    across((value: Endpoint, refuse) => {
      const given = Object.values(value).filter((item) => item !== undefined).length;
      if (given !== 1) refuse([], `must have exactly one of ip, fqdn and unix, has ${given}`);
    }),
  )
  .describe("One address: ip, fqdn or unix.");

const tlsFields = object(
  {
    sni: preciseHostname()
      .exactOptional()
      .describe("Name to ask for and to verify; the endpoint's hostname where absent."),
    wellKnownCACertificates: choice(["System"])
      .exactOptional()
      .describe("System: trust the certificate authorities of the host; so by default."),
    caCertificateRefs: z
      .array(localAuthorityReference)
      .min(1)
      .max(8)
      .exactOptional()
      .describe("Certificate authorities to trust instead of the host's."),
  },
  {
    unsupported: [
      "minVersion",
      "maxVersion",
      "ciphers",
      "alpnProtocols",
      "clientCertificateRef",
      "ecdhCurves",
      "signatureAlgorithms",
    ],
    refused: {
      insecureSkipVerify:
        "is not supported: certificates are verified; name their authority in caCertificateRefs",
    },
  },
).superRefine(
  across((tls: { wellKnownCACertificates?: string; caCertificateRefs?: unknown }, refuse) => {
    if (tls.wellKnownCACertificates !== undefined && tls.caCertificateRefs !== undefined) {
      refuse(["caCertificateRefs"], "must be absent beside wellKnownCACertificates");
    }
  }),
);

/** Envoy Gateway's names and Kubernetes' own (KEP-3726). */
const APP_PROTOCOLS = [
  "gateway.envoyproxy.io/h2c",
  "gateway.envoyproxy.io/ws",
  "gateway.envoyproxy.io/wss",
  "kubernetes.io/h2c",
  "kubernetes.io/ws",
  "kubernetes.io/wss",
] as const;

const specFields = object(
  {
    version: words(253)
      .exactOptional()
      .describe("What runs there; a change of it begins a new revision. Absent: any change does."),
    type: choice(["Endpoints"], ["DynamicResolver"])
      .exactOptional()
      .describe("Only Endpoints, which is meant where absent."),
    endpoints: z
      .array(endpoint)
      .min(1)
      .max(256)
      .describe("Where it runs; requests are spread evenly."),
    tls: tlsFields.exactOptional().describe("Connect with TLS; without this field, in plain text."),
    appProtocols: z
      .array(choice(APP_PROTOCOLS))
      .max(4)
      .exactOptional()
      .describe("What is spoken there; h2c with tls is HTTP/2 over TLS; HTTP/1.1 where absent."),
  },
  { unsupported: ["fallback", "healthCheck", "protocol"] },
);

export type BackendSpec = z.infer<typeof specFields>;
export type BackendEndpoint = BackendSpec["endpoints"][number];
export type Backend = Typed<
  "Backend",
  { spec: BackendSpec; status?: z.infer<typeof conditionStatus> }
>;

function checkSpec(spec: BackendSpec, refuse: Refuse): void {
  refuseDuplicates(
    spec.endpoints,
    { path: ["endpoints"], keyOfItem: endpointText, what: "the endpoint" },
    refuse,
  );
  for (const [index, name] of (spec.appProtocols ?? []).entries()) {
    if (name.endsWith("/wss") && spec.tls === undefined) {
      refuse(["appProtocols", index], "needs tls");
    }
  }
  if (spec.tls === undefined || spec.tls.sni !== undefined) return;
  if (spec.endpoints.some((item) => item.fqdn === undefined)) {
    refuse(["tls"], "needs sni where an endpoint is not an fqdn");
  }
}

/** "127.0.0.1:9001", "[::1]:9001", "api.example.com:443" or "unix:/run/app.sock". */
export function endpointText(item: BackendEndpoint): string {
  if (item.unix !== undefined) return `unix:${item.unix.path}`;
  if (item.fqdn !== undefined) return `${item.fqdn.hostname}:${item.fqdn.port}`;
  const address = item.ip?.address ?? "";
  return `${address.includes(":") ? `[${address}]` : address}:${item.ip?.port}`;
}

export const BACKEND = defineKind({
  group: SLUICE_GROUP,
  version: "v1alpha1",
  kind: "Backend",
  plural: "backends",
  shortNames: ["be"],
  categories: ["sluice"],
  description: "Where a version of a service runs.",
  fields: { spec: specFields.superRefine(...throughout(checkSpec)).describe("Where it runs.") },
  status: conditionStatus,
  columns: [
    column("Version", "spec.version"),
    {
      name: "Endpoints",
      type: "string",
      priority: 0,
      description: "Where it runs.",
      value: (resource) => (resource as Backend).spec.endpoints.map(endpointText).join(","),
    },
    conditionColumn("Accepted", "Accepted"),
  ],
});
