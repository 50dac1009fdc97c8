/**
 * `metav1.ObjectMeta` as documents carry it. Fields that a server writes are accepted, for people
 * send back what they read; those that would change behaviour that is not built are refused.
 */
import { z } from "zod";
import { namespaceName, resourceName } from "./format.ts";
import { across, object, quoted, type Refuse, stringMap, words } from "./schema.ts";

const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const LABEL_NAME = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const LABEL_PREFIX = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/** Kubernetes refuses annotations of more than 256 KiB in all. */
const ANNOTATION_BYTES_MAX = 262_144;

const labels = stringMap(256)
  .superRefine(
    across((map: Readonly<Record<string, string>>, refuse) => {
      for (const [key, value] of Object.entries(map)) {
        checkKey(key, refuse);
        if (value.length > 63 || !LABEL_VALUE.test(value)) {
          refuse(
            [key],
            `a label's value has at most 63 letters, digits, '-', '_' and '.', is ${quoted(value)}`,
          );
        }
      }
    }),
  )
  .describe("Names and values to select by.");

const annotations = stringMap()
  .superRefine(
    across((map: Readonly<Record<string, string>>, refuse) => {
      let bytes = 0;
      for (const [key, value] of Object.entries(map)) {
        checkKey(key, refuse);
        bytes += key.length + value.length;
      }
      if (bytes > ANNOTATION_BYTES_MAX) refuse([], "annotations hold at most 256 KiB in all");
    }),
  )
  .describe("Notes for people and tools; not for selecting.");

const ownerReference = object(
  {
    apiVersion: words(317).describe("API version of the owner."),
    kind: words(63).describe("Kind of the owner."),
    name: words(253).describe("Name of the owner."),
    uid: words(128).describe("UID of the owner."),
    controller: z.boolean().exactOptional().describe("Whether the owner manages this resource."),
    blockOwnerDeletion: z
      .boolean()
      .exactOptional()
      .describe("Whether the owner's deletion waits for this resource."),
  },
  {},
);

export interface MetadataOptions {
  readonly namespaced: boolean;
  readonly name?: z.ZodString;
}

/** The schema of `metadata`; whether a name is there at all is for `parseResource` to say. */
export function metadataSchema(options: MetadataOptions) {
  const namespace = options.namespaced
    ? namespaceName().describe("The namespace; default where absent.")
    : z
        .literal("", { error: "must be absent: the kind does not live in namespaces" })
        .describe("Absent: the kind does not live in namespaces.");
  return object(
    {
      name: (options.name ?? resourceName())
        .exactOptional()
        .describe("The name, unique for its kind and namespace."),
      generateName: words(200)
        .exactOptional()
        .describe("Where name is absent: the server appends five random letters to this."),
      namespace: namespace.exactOptional(),
      labels: labels.nullable().exactOptional(),
      annotations: annotations.nullable().exactOptional(),
      ownerReferences: z
        .array(ownerReference)
        .max(64)
        .exactOptional()
        .describe("Resources that this one belongs to: it is deleted with them."),
      uid: z.string().max(128).exactOptional().describe("Written by the server."),
      resourceVersion: z
        .string()
        .max(64)
        .exactOptional()
        .describe(
          "Version at the last write; sent back, a change by others in between is a conflict.",
        ),
      generation: z.number().int().exactOptional().describe("Written by the server."),
      creationTimestamp: z
        .string()
        .max(64)
        .nullable()
        .exactOptional()
        .describe("Written by the server."),
      deletionTimestamp: z
        .string()
        .max(64)
        .nullable()
        .exactOptional()
        .describe("Written by the server."),
      deletionGracePeriodSeconds: z
        .number()
        .int()
        .nullable()
        .exactOptional()
        .describe("Written by the server."),
      selfLink: z.string().max(1024).exactOptional().describe("Written by older servers."),
      managedFields: z
        .array(z.unknown())
        .max(1024)
        .exactOptional()
        .describe("Written by the server."),
      finalizers: z
        .array(z.string())
        .max(0, { error: "is not supported by this version: a deletion waits for nobody" })
        .exactOptional()
        .describe("Not supported; may be empty."),
    },
    {},
  ).describe("Name, namespace, labels and annotations of the resource.");
}

function checkKey(key: string, refuse: Refuse): void {
  const slash = key.indexOf("/");
  const prefix = slash === -1 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  const prefixOk = prefix === undefined || (prefix.length <= 253 && LABEL_PREFIX.test(prefix));
  if (prefixOk && name.length <= 63 && LABEL_NAME.test(name)) return;
  refuse(
    [key],
    "a key is a name of at most 63 letters, digits, '-', '_' and '.', after an optional prefix/",
  );
}
