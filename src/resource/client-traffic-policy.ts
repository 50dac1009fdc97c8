/**
 * ClientTrafficPolicy (sluice.dev/v1alpha1): how clients may speak to the listeners of a Gateway, in
 * Envoy Gateway's words. Fields of it that are not built are refused by name.
 */
import { z } from "zod";
import { parseDuration } from "../base/duration.ts";
import {
  gatewayDuration,
  headerName,
  isCidr,
  positiveDuration,
  resourceName,
  sectionName,
} from "./format.ts";
import { checkChanges, definePolicy, OTHER_TARGETS, type Policy, targetList } from "./policy.ts";
import { parseQuantity } from "./quantity.ts";
import { GATEWAY_GROUP } from "./reference.ts";
import { across, choice, integer, object, quoted } from "./schema.ts";
import { secretAuthorityReference, tlsSettingsFields } from "./tls.ts";

const gatewayTarget = object({
  group: choice([GATEWAY_GROUP]).describe("API group of the target."),
  kind: choice(["Gateway"], ["ListenerSet", "XListenerSet"]).describe("Kind of the target."),
  name: resourceName().describe("Name of the Gateway, in the policy's namespace."),
  sectionName: sectionName().exactOptional().describe("Name of one listener; all where absent."),
}).describe("A Gateway, or one of its listeners, that the policy applies to.");

const clientValidation = object(
  {
    optional: z
      .boolean()
      .exactOptional()
      .describe("true: a client may present no certificate; one that it presents must be valid."),
    caCertificateRefs: z
      .array(secretAuthorityReference)
      .min(1)
      .max(8)
      .describe("Certificate authorities of clients: ConfigMaps or Secrets with a key ca.crt."),
  },
  { unsupported: ["spkiHashes", "certificateHashes", "subjectAltNames", "crl"] },
);

const tlsFields = object(
  {
    ...tlsSettingsFields,
    clientValidation: clientValidation
      .exactOptional()
      .describe("Mutual TLS: whose certificates clients must present."),
  },
  {
    unsupported: ["ecdhCurves", "signatureAlgorithms", "fingerprints"],
    refused: { session: "is not supported: sessions are resumed by tickets, always" },
  },
);

const tls = tlsFields.superRefine(
  across((value: z.infer<typeof tlsFields>, refuse) => {
    if (value.minVersion === "1.3" && value.maxVersion === "1.2") {
      refuse(["maxVersion"], "must not be below minVersion");
    }
    if (value.minVersion === "1.3" && value.ciphers !== undefined) {
      refuse(["ciphers"], "must be absent for minVersion 1.3, whose ciphers cannot be chosen");
    }
  }),
);

const xForwardedForFields = object(
  {
    numTrustedHops: integer(1, 64)
      .exactOptional()
      .describe("How many proxies stand before this one: the client is the Nth from the right."),
    trustedCIDRs: z
      .array(
        z
          .string()
          .max(64)
          .refine(isCidr, {
            error: ({ input }) => `must be a range such as 10.0.0.0/8, is ${quoted(input)}`,
          }),
      )
      .min(1)
      .max(64)
      .exactOptional()
      .describe("Addresses of proxies: the client is the first from the right not among them."),
  },
  { unsupported: ["disableXForwardedForAppend"] },
);

const clientIpDetectionFields = object({
  xForwardedFor: xForwardedForFields
    .superRefine(
      across((value: z.infer<typeof xForwardedForFields>, refuse) => {
        const given = Object.values(value).filter((item) => item !== undefined).length;
        if (given !== 1) {
          refuse([], `must have exactly one of numTrustedHops and trustedCIDRs, has ${given}`);
        }
      }),
    )
    .exactOptional()
    .describe(
      "From X-Forwarded-For, as the proxies before this one write it; X-Forwarded-Proto is believed, too.",
    ),
  customHeader: object({
    name: headerName().describe("Header that holds the client's address."),
    failClosed: z
      .boolean()
      .exactOptional()
      .describe("true: requests without a valid address there are answered with 403."),
  })
    .exactOptional()
    .describe("From a header of its own."),
});

const clientIPDetection = clientIpDetectionFields.superRefine(
  across((value: z.infer<typeof clientIpDetectionFields>, refuse) => {
    const given = Object.values(value).filter((item) => item !== undefined).length;
    if (given !== 1)
      refuse([], `must have exactly one of xForwardedFor and customHeader, has ${given}`);
  }),
);

/** What TCP_KEEPIDLE and TCP_KEEPINTVL take (tcp(7)). */
const KERNEL_SECONDS_MAX = 32_767;

function kernelSeconds() {
  return gatewayDuration().refine(
    (value) => {
      const seconds = (parseDuration(value) ?? 0) / 1000;
      return Number.isInteger(seconds) && seconds >= 1 && seconds <= KERNEL_SECONDS_MAX;
    },
    {
      error: ({ input }) =>
        `must be whole seconds from 1s to ${KERNEL_SECONDS_MAX}s, is ${quoted(input)}`,
    },
  );
}

const timeouts = object(
  {
    http: object({
      requestReceivedTimeout: positiveDuration()
        .exactOptional()
        .describe("From a request's first byte to its last; no limit of its own where absent."),
      idleTimeout: positiveDuration()
        .exactOptional()
        .describe("Between two requests of a connection; 75s where absent."),
      streamIdleTimeout: positiveDuration()
        .exactOptional()
        .describe("Without a byte of a request or its response; 30s and 300s where absent."),
    })
      .exactOptional()
      .describe("Timeouts of requests."),
  },
  { unsupported: ["tcp"] },
);

const connection = object(
  {
    connectionLimit: object(
      {
        value: integer(1, 1_000_000_000).describe("Connections that may be open at once."),
        closeDelay: gatewayDuration()
          .exactOptional()
          .describe("How long a connection beyond the limit is held before it is closed."),
      },
      { unsupported: ["maxConnectionDuration", "maxRequestsPerConnection", "maxStreamDuration"] },
    )
      .exactOptional()
      .describe("How many connections a port takes, exact over all workers."),
  },
  {
    unsupported: [
      "bufferLimit",
      "socketBufferLimit",
      "maxAcceptPerSocketEvent",
      "maxConnectionsToAcceptPerSocketEvent",
    ],
  },
);

const forwardedClientCertFields = object({
  mode: choice(["Sanitize", "ForwardOnly", "AppendForward", "SanitizeSet", "AlwaysForwardOnly"])
    .default("Sanitize")
    .describe("What becomes of the header X-Forwarded-Client-Cert; Sanitize removes it."),
  certDetailsToAdd: z
    .array(choice(["Subject", "Cert", "Chain", "DNS", "URI"]))
    .max(5)
    .exactOptional()
    .describe("What is said of the client's certificate beside its hash."),
});

const headers = object(
  {
    xForwardedClientCert: forwardedClientCertFields
      .superRefine(
        across((value: z.infer<typeof forwardedClientCertFields>, refuse) => {
          const adds = value.mode === "AppendForward" || value.mode === "SanitizeSet";
          if (!adds && (value.certDetailsToAdd ?? []).length > 0) {
            refuse(["certDetailsToAdd"], "needs mode AppendForward or SanitizeSet");
          }
        }),
      )
      .exactOptional()
      .describe("How backends hear of the client's certificate."),
  },
  {
    unsupported: [
      "enableEnvoyHeaders",
      "disableRateLimitHeaders",
      "withUnderscoresAction",
      "preserveXRequestID",
      "requestID",
      "earlyRequestHeaders",
      "lateResponseHeaders",
    ],
  },
);

const WINDOW_BYTES_MIN = 65_535;
const WINDOW_BYTES_MAX = 2 ** 31 - 1;

function windowSize() {
  return z
    .union([z.number().int(), z.string().max(32)], { error: "must be a quantity such as 64Ki" })
    .refine(
      (value) => {
        const bytes = parseQuantity(value);
        return bytes !== undefined && bytes >= WINDOW_BYTES_MIN && bytes <= WINDOW_BYTES_MAX;
      },
      {
        error: ({ input }) =>
          `must be a quantity from ${WINDOW_BYTES_MIN} to ${WINDOW_BYTES_MAX} such as 64Ki, is ${quoted(input)}`,
      },
    );
}

const http2 = object(
  {
    maxConcurrentStreams: integer(1, 2 ** 31 - 1)
      .exactOptional()
      .describe("Requests that one connection may have in flight; 100 where absent."),
    initialStreamWindowSize: windowSize()
      .exactOptional()
      .describe("Bytes that a client may send of one request before it must wait."),
    initialConnectionWindowSize: windowSize()
      .exactOptional()
      .describe("The same for all requests of a connection."),
  },
  { unsupported: ["onInvalidMessage", "connectionKeepalive"] },
);

const specFields = object(
  {
    targetRefs: targetList(gatewayTarget).describe(
      "The Gateways and listeners that the policy applies to.",
    ),
    tls: tls.exactOptional().describe("TLS of HTTPS listeners."),
    enableProxyProtocol: z
      .boolean()
      .exactOptional()
      .describe("true: as proxyProtocol: {}, under its older name."),
    proxyProtocol: object({
      optional: z
        .boolean()
        .exactOptional()
        .describe("true: connections without its header are taken too. Trust whoever connects."),
    })
      .exactOptional()
      .describe("Every connection begins with a PROXY protocol header, version 1 or 2."),
    clientIPDetection: clientIPDetection
      .exactOptional()
      .describe("Where the client's address is found; that of the connection where absent."),
    timeout: timeouts.exactOptional().describe("How long clients may take."),
    connection: connection.exactOptional().describe("Limits of connections."),
    tcpKeepalive: object({
      probes: integer(1, 127)
        .exactOptional()
        .describe("Unanswered questions before it is cut; 10."),
      idleTime: kernelSeconds().exactOptional().describe("Silence before the peer is asked; 60s."),
      interval: kernelSeconds().exactOptional().describe("Between two questions; 1s."),
    })
      .exactOptional()
      .describe("How TCP finds out that a client is gone; whole seconds."),
    headers: headers.exactOptional().describe("Headers of requests."),
    path: object({
      escapedSlashesAction: choice([
        "KeepUnchanged",
        "RejectRequest",
        "UnescapeAndForward",
        "UnescapeAndRedirect",
      ])
        .exactOptional()
        .describe(
          "What is done with %2F in a path. Where absent it is kept, and refused where a backend " +
            "that decodes it would be reached past the rule for what it reads; KeepUnchanged asks " +
            "no such question. UnescapeAndRedirect answers 307. %5C is refused always.",
        ),
      disableMergeSlashes: z
        .boolean()
        .exactOptional()
        .describe(
          "true: repeated slashes are kept, and refused where one in their place has another rule.",
        ),
    })
      .exactOptional()
      .describe("How paths are read."),
    http2: http2.exactOptional().describe("Limits of HTTP/2."),
  },
  {
    unsupported: [...OTHER_TARGETS, "http1", "http3", "grpc", "healthCheck", "scheme"],
  },
);

export type ClientTrafficPolicySpec = z.infer<typeof specFields>;
export type ClientTrafficPolicy = Policy<"ClientTrafficPolicy", ClientTrafficPolicySpec>;

export const CLIENT_TRAFFIC_POLICY = definePolicy({
  kind: "ClientTrafficPolicy",
  plural: "clienttrafficpolicies",
  shortNames: ["ctp"],
  description: "How clients may speak to the listeners of a Gateway: TLS, PROXY protocol, limits.",
  spec: specFields.superRefine(across(checkChanges)).describe("What is done, and for what."),
});
