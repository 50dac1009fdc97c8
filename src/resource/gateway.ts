/**
 * Gateway (gateway.networking.k8s.io/v1): addresses and listeners. Protocols beside HTTP parse, for
 * they are valid Gateway API; the compiler answers them with a condition.
 */
import { isIP } from "node:net";
import { z } from "zod";
import { conditions } from "./condition.ts";
import { apiGroup, hostname, kindName, resourceName, sectionName } from "./format.ts";
import { column, conditionColumn, defineKind, type Typed } from "./kind.ts";
import { GATEWAY_GROUP } from "./reference.ts";
import {
  across,
  choice,
  object,
  port,
  quoted,
  type Refuse,
  refuseDuplicates,
  stringMap,
  text,
  throughout,
  words,
} from "./schema.ts";
import { authorityReference, certificateReference } from "./tls.ts";

const PROTOCOL =
  /^(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?|[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?\/[A-Za-z0-9]+)$/;

/** `metav1.LabelSelector`. */
export const labelSelector = object({
  matchLabels: stringMap(64).exactOptional().describe("Labels that must have these values."),
  matchExpressions: z
    .array(
      object({
        key: words(317).describe("The label."),
        operator: choice(["In", "NotIn", "Exists", "DoesNotExist"]).describe("How it is compared."),
        values: z.array(z.string().max(63)).max(64).exactOptional().describe("For In and NotIn."),
      }).superRefine(
        across((expression: LabelExpression, refuse) => {
          const needsValues = expression.operator === "In" || expression.operator === "NotIn";
          const count = expression.values?.length ?? 0;
          if (needsValues && count === 0) refuse(["values"], "must not be empty for In and NotIn");
          if (!needsValues && count > 0) {
            refuse(["values"], `must be absent for ${expression.operator}`);
          }
        }),
      ),
    )
    .max(64)
    .exactOptional()
    .describe("Conditions on labels; all must hold."),
});

interface LabelExpression {
  readonly operator: string;
  readonly values?: readonly string[];
}

const allowedRoutes = object({
  namespaces: object({
    from: choice(["All", "Selector", "Same", "None"])
      .default("Same")
      .describe("Which namespaces' routes may attach."),
    selector: labelSelector.exactOptional().describe("For Selector: labels of the namespaces."),
  })
    .default({ from: "Same" })
    .describe("Namespaces whose routes may attach."),
  kinds: z
    .array(
      object({
        group: apiGroup().default(GATEWAY_GROUP).describe("API group of the route's kind."),
        kind: kindName().describe("Kind of route."),
      }),
    )
    .max(8)
    .exactOptional()
    .describe("Kinds of routes that may attach; those of the protocol where absent."),
}).superRefine(
  across((allowed: { namespaces: { from: string; selector?: unknown } }, refuse) => {
    if (allowed.namespaces.from === "Selector" && allowed.namespaces.selector === undefined) {
      refuse(["namespaces", "selector"], "is required for from: Selector");
    }
  }),
);

/** Files with a certificate chain and its private key, in PEM: for those who have no Secrets. */
export const CERTIFICATE_FILE_OPTION = "sluice.dev/certificate-file";
export const KEY_FILE_OPTION = "sluice.dev/key-file";

const filePath = (what: string) => words(4096).exactOptional().describe(what);

const tlsOptions = object({
  [CERTIFICATE_FILE_OPTION]: filePath("File with the certificate and those that vouch for it."),
  [KEY_FILE_OPTION]: filePath("File with the certificate's private key."),
}).superRefine(
  across((options: Readonly<Record<string, string | undefined>>, refuse) => {
    const pair = [CERTIFICATE_FILE_OPTION, KEY_FILE_OPTION];
    const missing = pair.filter((name) => options[name] === undefined);
    if (missing.length === 1) refuse([missing[0] as string], "is required beside the other file");
  }),
);

const tls = object(
  {
    mode: choice(["Terminate", "Passthrough"])
      .default("Terminate")
      .describe("Whether TLS ends here or at the backend."),
    certificateRefs: z
      .array(certificateReference)
      .max(64)
      .exactOptional()
      .describe("Certificates to present; a client gets the first whose kind of key it can take."),
    options: tlsOptions
      .exactOptional()
      .describe(
        `Settings of the implementation: ${CERTIFICATE_FILE_OPTION} and ${KEY_FILE_OPTION}, a ` +
          "certificate in files that are watched, in place of certificateRefs.",
      ),
  },
  { unsupported: ["frontendValidation"] },
);

const listener = object({
  name: sectionName().describe("Name of the listener, unique in the Gateway."),
  hostname: hostname()
    .exactOptional()
    .describe("Host that requests must ask for; any where absent. *.example.com takes all below."),
  port: port().describe("Port to listen on, 1 to 65535."),
  protocol: text(PROTOCOL, "a protocol such as HTTP, HTTPS, TLS, TCP or UDP", 255).describe(
    "Protocol to expect; HTTP and HTTPS are served by this version.",
  ),
  tls: tls.exactOptional().describe("TLS of an HTTPS or TLS listener."),
  allowedRoutes: allowedRoutes
    .default({ namespaces: { from: "Same" } })
    .describe("Which routes may attach."),
}).superRefine(
  across((value: ListenerShape, refuse) => {
    // "http" is no protocol of Gateway API, but whoever writes it means HTTP, with its rules.
    const protocol = value.protocol.toUpperCase();
    if (["HTTP", "TCP", "UDP"].includes(protocol) && value.tls !== undefined) {
      refuse(["tls"], `must be absent for protocol ${protocol}`);
    }
    if (protocol === "HTTPS" && value.tls === undefined) {
      refuse(["tls"], "is required for protocol HTTPS: the certificates to present");
    }
    // A default would decide who ends the encryption.
    if (protocol === "TLS" && value.tls === undefined) {
      refuse(["tls"], "is required for protocol TLS: mode Terminate or Passthrough");
    }
    if (["TCP", "UDP"].includes(protocol) && value.hostname !== undefined) {
      refuse(["hostname"], `must be absent for protocol ${protocol}`);
    }
    if (protocol === "HTTPS" && value.tls?.mode === "Passthrough") {
      refuse(["tls", "mode"], "must be Terminate for protocol HTTPS");
    }
    if (value.tls?.mode === "Terminate" && (value.tls.certificateRefs ?? []).length === 0) {
      if (Object.keys(value.tls.options ?? {}).length === 0) {
        refuse(["tls", "certificateRefs"], "must name a certificate for mode Terminate");
      }
    }
  }),
);

interface ListenerShape {
  readonly protocol: string;
  readonly hostname?: string;
  readonly tls?: z.infer<typeof tls>;
}

/** The type of an address that is the path of a Unix socket (Gateway API: domain-prefixed types). */
export const UNIX_SOCKET = "sluice.dev/UnixSocket";

/** sun_path holds 108 bytes on Linux, the last of them NUL (unix(7)). */
const UNIX_PATH_BYTES_MAX = 107;
/** Absolute and in its shortest spelling, so that one socket has one name. */
const UNIX_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[^/\p{Cc}]+)+$/u;

/** Gateway API `AddressType`: its own, and those of implementations behind a domain. */
const ADDRESS_TYPE =
  /^(?:Hostname|IPAddress|NamedAddress|[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?\/[\w\-./~%!$&'()*+,;=:]+)$/;

const address = object({
  type: text(ADDRESS_TYPE, `IPAddress, ${UNIX_SOCKET} or another type of Gateway API`)
    .default("IPAddress")
    .describe(
      `IPAddress or ${UNIX_SOCKET}; a Gateway with an address of another type is not accepted.`,
    ),
  value: z
    .string()
    .max(253)
    .exactOptional()
    .describe(
      "The IP address to bind, every address of the host where absent; or the path of the socket.",
    ),
}).superRefine(
  ...throughout(({ type, value }: AddressShape, refuse) => {
    if (type === UNIX_SOCKET) {
      const problem = unixPathProblem(value ?? "");
      if (problem !== undefined) refuse(["value"], problem);
    } else if (type === "IPAddress" && value !== undefined && isIP(value) === 0) {
      refuse(["value"], `must be an IP address, is ${quoted(value)}`);
    } else if (type === "Hostname" && value !== undefined && !hostname().safeParse(value).success) {
      refuse(["value"], `must be a hostname, is ${quoted(value)}`);
    }
  }),
);

interface AddressShape {
  readonly type: string;
  readonly value?: string;
}

/** Undefined where a Unix socket can be at `path`. */
export function unixPathProblem(path: string): string | undefined {
  if (!UNIX_PATH.test(path)) {
    return `must be an absolute path without empty, "." and ".." segments, is ${quoted(path)}`;
  }
  const bytes = new TextEncoder().encode(path).length;
  return bytes > UNIX_PATH_BYTES_MAX
    ? `must be at most ${UNIX_PATH_BYTES_MAX} bytes, is ${bytes} bytes long`
    : undefined;
}

const frontendTls = object({
  validation: object({
    caCertificateRefs: z
      .array(authorityReference)
      .min(1)
      .max(16)
      .describe("Certificate authorities of clients: ConfigMaps or Secrets with a key ca.crt."),
    mode: choice(["AllowValidOnly", "AllowInsecureFallback"])
      .default("AllowValidOnly")
      .describe("AllowInsecureFallback: clients without a valid certificate are served too."),
  })
    .exactOptional()
    .describe("Mutual TLS: whose certificates clients must present."),
});

const gatewayTls = object({
  backend: object({
    clientCertificateRef: certificateReference
      .exactOptional()
      .describe("Certificate that the gateway presents to backends with TLS."),
  })
    .exactOptional()
    .describe("TLS towards backends; whether there is any, BackendTLSPolicy says."),
  frontend: object({
    default: frontendTls.describe("For all HTTPS listeners whose port is not in perPort."),
    perPort: z
      .array(
        object({
          port: port().describe("Port of HTTPS listeners."),
          tls: frontendTls.describe("In place of the default on that port."),
        }),
      )
      .max(64)
      .exactOptional()
      .describe("For the HTTPS listeners of single ports."),
  })
    .exactOptional()
    .describe("TLS towards clients."),
});

/** Gateway API `GatewayInfrastructure`: nothing is created for a Gateway that could carry labels. */
const infrastructure = object({
  labels: stringMap(8).exactOptional().describe("Kept; changes nothing here."),
  annotations: stringMap(8).exactOptional().describe("Kept; changes nothing here."),
  parametersRef: object({
    group: apiGroup().describe("API group of the parameters."),
    kind: kindName().describe("Their kind."),
    name: resourceName().describe("Their name."),
  })
    .exactOptional()
    .describe("Parameters of other controllers; Sluice takes none, and serves no such Gateway."),
});

const NOBODY = "None, which is the default: no other resource adds listeners.";

const allowedListeners = object({
  namespaces: object(
    { from: choice(["None"], ["All", "Selector", "Same"]).default("None").describe(NOBODY) },
    { unsupported: ["selector"] },
  )
    .exactOptional()
    .describe(NOBODY),
});

const specFields = object(
  {
    gatewayClassName: words(253).describe("sluice; Gateways of other classes are left alone."),
    listeners: z.array(listener).min(1).max(64).describe("Ports and hosts to listen on."),
    addresses: z
      .array(address)
      .max(16)
      .exactOptional()
      .describe("Addresses to bind; every address of the host where absent."),
    tls: gatewayTls.exactOptional().describe("TLS of all listeners, and towards backends."),
    infrastructure: infrastructure
      .exactOptional()
      .describe("What a cluster creates for the Gateway; nothing is created here."),
    allowedListeners: allowedListeners
      .exactOptional()
      .describe("Which ListenerSets may attach: none."),
    defaultScope: choice(["None"], ["All"])
      .exactOptional()
      .describe("None: routes name their Gateways."),
  },
  { unsupported: ["backendTLS"] },
);

export type GatewaySpec = z.infer<typeof specFields>;
export type Listener = GatewaySpec["listeners"][number];

function checkSpec(spec: GatewaySpec, refuse: Refuse): void {
  refuseDuplicates(
    spec.listeners,
    { path: ["listeners"], field: "name", keyOfItem: (item) => item.name, what: "the name" },
    refuse,
  );
  refuseDuplicates(
    spec.listeners,
    {
      path: ["listeners"],
      field: "port",
      keyOfItem: listenerEndpoint,
      what: "protocol, port and hostname",
    },
    refuse,
  );
  refuseDuplicates(
    spec.addresses,
    { path: ["addresses"], field: "value", keyOfItem: (item) => item.value, what: "the address" },
    refuse,
  );
  refuseDuplicates(
    spec.tls?.frontend?.perPort,
    {
      path: ["tls", "frontend", "perPort"],
      field: "port",
      keyOfItem: (item) => String(item.port),
      what: "the port",
    },
    refuse,
  );
}

function listenerEndpoint(item: Listener): string {
  return `${item.protocol} ${item.port} ${item.hostname ?? "(any host)"}`;
}

const gatewaySpec = specFields.superRefine(...throughout(checkSpec)).describe("What to listen on.");

const gatewayStatus = z
  .looseObject({
    addresses: z
      .array(z.looseObject({ type: z.string().exactOptional(), value: z.string() }))
      .max(16)
      .exactOptional()
      .describe("Addresses that are bound."),
    conditions,
    listeners: z
      .array(
        z.looseObject({
          name: z.string().describe("Name of the listener."),
          attachedRoutes: z.number().int().describe("Routes attached to the listener."),
          supportedKinds: z
            .array(z.looseObject({ group: z.string().exactOptional(), kind: z.string() }))
            .max(8)
            .exactOptional()
            .describe("Kinds of routes that the listener takes."),
          conditions,
        }),
      )
      .max(64)
      .exactOptional()
      .describe("State of each listener."),
  })
  .describe("What Sluice has made of the Gateway.");

export type GatewayStatus = z.infer<typeof gatewayStatus>;
export type Gateway = Typed<"Gateway", { spec: GatewaySpec; status?: GatewayStatus }>;

export const GATEWAY = defineKind({
  group: GATEWAY_GROUP,
  version: "v1",
  olderVersions: ["v1beta1"],
  kind: "Gateway",
  plural: "gateways",
  shortNames: ["gtw"],
  categories: ["gateway-api"],
  description: "Where traffic comes in: addresses, ports and hosts to listen on.",
  fields: { spec: gatewaySpec },
  status: gatewayStatus,
  columns: [
    column("Class", "spec.gatewayClassName"),
    {
      name: "Address",
      type: "string",
      priority: 0,
      description: "Addresses that are bound.",
      value: (resource) =>
        (resource as Gateway).status?.addresses?.map((item) => item.value).join(","),
    },
    conditionColumn("Programmed", "Programmed"),
  ],
});
