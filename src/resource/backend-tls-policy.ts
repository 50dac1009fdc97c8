/**
 * BackendTLSPolicy (gateway.networking.k8s.io/v1): how the gateway connects to a backend by TLS.
 * What is wrong with the certificates that it names is said in its status; requests to its backends
 * then fail, and never go in plain text.
 */
import { z } from "zod";
import {
  apiGroup,
  hostname,
  kindName,
  preciseHostname,
  resourceName,
  sectionName,
} from "./format.ts";
import { definePolicy, type Policy, targetList } from "./policy.ts";
import { GATEWAY_GROUP } from "./reference.ts";
import { across, choice, object, type Refuse, stringMap, text, throughout } from "./schema.ts";

const ABSOLUTE_URI = /^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$/;

const target = object({
  group: choice(["", "sluice.dev"]).describe(
    'API group: "" for a Service, sluice.dev for a Backend.',
  ),
  kind: choice(["Service", "Backend"]).describe("Kind of the backend."),
  name: resourceName().describe("Name of the backend, in the policy's namespace."),
  sectionName: sectionName()
    .exactOptional()
    .describe("Name of one port of the Service; all ports where absent."),
}).superRefine(
  across((value: { group: string; kind: string; sectionName?: string }, refuse) => {
    const group = value.kind === "Service" ? "" : "sluice.dev";
    if (value.group !== group) refuse(["group"], `must be "${group}" for kind ${value.kind}`);
    if (value.kind === "Backend" && value.sectionName !== undefined) {
      refuse(["sectionName"], "must be absent for a Backend, which has no named ports");
    }
  }),
);

export type BackendTlsTarget = z.infer<typeof target>;

const subjectAltName = object({
  type: choice(["Hostname", "URI"]).describe("Form of the name."),
  hostname: hostname().exactOptional().describe("For Hostname: a DNS name of the certificate."),
  uri: text(ABSOLUTE_URI, "an absolute URI such as spiffe://cluster.local/ns/shop/sa/app")
    .exactOptional()
    .describe("For URI: a URI of the certificate, such as a SPIFFE id."),
}).superRefine(
  across((value: { type: string; hostname?: string; uri?: string }, refuse) => {
    const wanted = value.type === "Hostname" ? "hostname" : "uri";
    const other = wanted === "hostname" ? "uri" : "hostname";
    if (value[wanted] === undefined) refuse([wanted], `is required for type ${value.type}`);
    if (value[other] !== undefined) refuse([other], `must be absent for type ${value.type}`);
  }),
);

const validationFields = object({
  caCertificateRefs: z
    .array(
      object({
        group: apiGroup().describe('API group: "".'),
        kind: kindName().describe("Kind that holds the certificates: ConfigMap or Secret."),
        name: resourceName().describe("Name; its key ca.crt holds certificates in PEM."),
      }),
    )
    .max(16)
    .exactOptional()
    .describe("Certificate authorities to trust, in the policy's namespace."),
  wellKnownCACertificates: choice(["System"])
    .exactOptional()
    .describe("System: trust the certificate authorities of the host."),
  hostname: preciseHostname().describe(
    "Name to ask for; also the name to verify, unless subjectAltNames has others.",
  ),
  subjectAltNames: z
    .array(subjectAltName)
    .max(5)
    .exactOptional()
    .describe("Names of which the backend's certificate must have one."),
});

const validation = validationFields.superRefine(
  across((value: z.infer<typeof validationFields>, refuse) => {
    const named = (value.caCertificateRefs ?? []).length > 0;
    const system = value.wellKnownCACertificates !== undefined;
    if (named && system) {
      refuse(["wellKnownCACertificates"], "must be absent beside caCertificateRefs");
    }
    if (!named && !system) {
      refuse(["caCertificateRefs"], "is required, or wellKnownCACertificates: System");
    }
  }),
);

const specFields = object({
  targetRefs: targetList(target).describe("The Services and Backends that are connected to so."),
  validation: validation.describe("Whom the gateway takes for the backend."),
  options: stringMap(16)
    .refine((map) => Object.keys(map).length === 0, {
      error: "has no options in this version; leave it out",
    })
    .exactOptional()
    .describe("Settings of the implementation; there are none."),
});

export type BackendTlsPolicySpec = z.infer<typeof specFields>;
export type BackendTLSPolicy = Policy<"BackendTLSPolicy", BackendTlsPolicySpec>;

/** Gateway API: targets are distinct, by their sections where several are of one resource. */
function checkSpec(spec: BackendTlsPolicySpec, refuse: Refuse): void {
  for (const [index, one] of spec.targetRefs.entries()) {
    for (const before of spec.targetRefs.slice(0, index)) {
      if (before.kind !== one.kind || before.name !== one.name) continue;
      if (before.sectionName === one.sectionName) {
        refuse(["targetRefs", index], "repeats a target; each may stand once");
      } else if (before.sectionName === undefined || one.sectionName === undefined) {
        const message = "needs a sectionName on each of several targets of one resource";
        refuse(["targetRefs", index, "sectionName"], message);
      }
    }
  }
}

export const BACKEND_TLS_POLICY = definePolicy(
  {
    kind: "BackendTLSPolicy",
    plural: "backendtlspolicies",
    shortNames: ["btlspolicy"],
    description: "How the gateway connects to a backend by TLS, and whom it takes for the backend.",
    spec: specFields
      .superRefine(...throughout(checkSpec))
      .describe("Which backends, and whom to trust."),
  },
  {
    group: GATEWAY_GROUP,
    version: "v1",
    olderVersions: ["v1alpha3"],
    categories: ["gateway-api"],
  },
);
