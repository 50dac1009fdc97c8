/** nginx, as origins on the load's core and as the proxy to compare with. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { ChildProcess } from "node:child_process";
import type { Certificate } from "./certificate.ts";
import { CIPHER, CONNECTIONS } from "./load.ts";
import {
  answering,
  freePort,
  LOAD_CORE,
  listening,
  pinned,
  PROXY_CORE,
  type Bench,
  type Runner,
} from "./machine.ts";

const ANSWER_BYTES = 1024;
/** A gRPC message of ten bytes: not compressed, its length, the message (gRPC over HTTP/2). */
export const GRPC_MESSAGE = `\0\0\0\0\u000A${"m".repeat(10)}`;

/** Ports of two origins that answer alike. */
export interface Ports {
  readonly stable: number;
  readonly canary: number;
}

/** An nginx of one worker; `http` are lines of its http block. */
function runNginx(core: string, home: string, http: readonly string[]): ChildProcess {
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const conf = `worker_processes 1;
worker_rlimit_nofile 60000;
daemon off;
pid ${home}/pid;
error_log ${home}/error.log;
events { worker_connections 25000; }
http {
  ${kinds.map((kind) => `${kind}_temp_path ${home}/${kind};`).join(" ")}
  keepalive_requests 1000000000;
  ${http.join("\n  ")}
}
`;
  const file = path.join(home, "nginx.conf");
  writeFileSync(file, conf);
  return pinned(core, ["nginx", "-c", file, "-e", `${home}/error.log`]);
}

async function startOrigin(bench: Bench, name: string, http: readonly string[]): Promise<void> {
  bench.start(runNginx(LOAD_CORE, bench.folder(name), ["access_log off;", ...http]));
}

/** Two origins in one nginx, each of which answers every request with the same 1 KB. */
export async function startOrigins(bench: Bench): Promise<Ports> {
  const ports = { stable: await freePort(), canary: await freePort() };
  const server = (port: number): string =>
    `server { listen 127.0.0.1:${port} backlog=4096; location / { return 200 "${"x".repeat(ANSWER_BYTES)}"; } }`;
  await startOrigin(bench, "origins", [
    "default_type text/plain;",
    server(ports.stable),
    server(ports.canary),
  ]);
  await answering(ports.stable);
  return ports;
}

/** An origin of files of `directory`, which takes bodies of any size as well. */
export async function startFileOrigin(bench: Bench, directory: string): Promise<number> {
  const port = await freePort();
  const sink = await freePort();
  await startOrigin(bench, "files", [
    "client_max_body_size 0;",
    "default_type application/octet-stream;",
    // What is proxied on is read; the one behind answers without reading what is small.
    `server { listen 127.0.0.1:${sink}; location / { return 204; } }`,
    `server {
    listen 127.0.0.1:${port} backlog=4096;
    sendfile on;
    tcp_nopush on;
    location / { root ${directory}; }
    location /upload {
      client_body_buffer_size 2m;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_pass http://127.0.0.1:${sink};
    }
  }`,
  ]);
  await listening(port);
  return port;
}

/** A gRPC server of one method, which answers every call with the same message and trailers. */
export async function startGrpcOrigin(bench: Bench): Promise<number> {
  const port = await freePort();
  await startOrigin(bench, "grpc-origin", [
    "default_type application/grpc;",
    `server {
    listen 127.0.0.1:${port} http2 backlog=4096;
    location / { add_trailer grpc-status 0; return 200 "${GRPC_MESSAGE}"; }
  }`,
  ]);
  await listening(port);
  return port;
}

export interface NginxOptions {
  readonly name?: string;
  readonly ports: Ports;
  /** One JSON line a request, a request id made or kept, and the header that carries it. */
  readonly logs: boolean;
  readonly certificate?: Certificate;
  readonly http2?: boolean;
  /**
   * What is passed on: requests of HTTP/1.1, those with their bodies as they come (as Sluice does,
   * where nginx else keeps a body in a file until it is complete), upgrades, or gRPC calls.
   */
  readonly passes?: "http" | "stream" | "websocket" | "grpc";
}

const FIELDS = [
  '"time":"$time_iso8601","requestId":"$request_id","client":"$remote_addr","method":"$request_method"',
  '"host":"$host","path":"$uri","status":$status,"duration":$request_time,"upstream":"$upstream_response_time"',
  '"arm":"$arm","endpoint":"$upstream_addr","bytesIn":$request_length,"bytesOut":$body_bytes_sent',
].join(",");

/**
 * One worker, keep-alive to its origins, a split of 90/10. With `logs` the split is drawn by the
 * request's id, so that the log can tell the arm; without, nginx's own weights draw it, which is
 * cheaper.
 */
export async function startNginx(bench: Bench, options: NginxOptions): Promise<Runner> {
  const { name = "nginx", ports, logs, certificate, http2 = false } = options;
  const port = await freePort();
  const home = bench.folder(name);
  const child = bench.start(
    runNginx(PROXY_CORE, home, [
      ...(logs ? logging(home, ports) : ["access_log off;", weighted(ports)]),
      // Sluice streams bodies of any size by itself.
      "client_max_body_size 0;",
      `server {
    listen 127.0.0.1:${port} backlog=4096${certificate ? " ssl" : ""}${http2 ? " http2" : ""};
    ${tls(certificate)}
    location / {
      ${passing(options).join("\n      ")}
    }
  }`,
    ]),
  );
  await listening(port);
  return { name, process: child, port };
}

function weighted({ stable, canary }: Ports): string {
  return `upstream arm {
    server 127.0.0.1:${stable} weight=90;
    server 127.0.0.1:${canary} weight=10;
    keepalive ${CONNECTIONS * 2};
    keepalive_requests 1000000000;
  }`;
}

function logging(home: string, { stable, canary }: Ports): readonly string[] {
  const upstream = (name: string, to: number): string =>
    `upstream ${name} { server 127.0.0.1:${to}; keepalive ${CONNECTIONS}; keepalive_requests 1000000000; }`;
  return [
    `log_format json escape=json '{${FIELDS}}';`,
    `access_log ${home}/access.log json buffer=64k flush=1s;`,
    'split_clients "$request_id" $arm { 10% canary; * stable; }',
    upstream("stable", stable),
    upstream("canary", canary),
  ];
}

function tls(certificate: Certificate | undefined): string {
  if (certificate === undefined) return "";
  return `ssl_certificate ${certificate.certificateFile};
    ssl_certificate_key ${certificate.keyFile};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites ${CIPHER};`;
}

function passing({ logs, passes = "http" }: NginxOptions): readonly string[] {
  const prefix = passes === "grpc" ? "grpc" : "proxy";
  const upgrade = passes === "websocket";
  return [
    `${prefix}_pass ${prefix === "grpc" ? "grpc" : "http"}://${logs ? "$arm" : "arm"};`,
    ...(prefix === "grpc" ? [] : ["proxy_http_version 1.1;"]),
    ...(upgrade ? ["proxy_set_header Upgrade $http_upgrade;", "proxy_read_timeout 1h;"] : []),
    ...(prefix === "grpc" ? [] : [`proxy_set_header Connection "${upgrade ? "upgrade" : ""}";`]),
    ...(passes === "stream" ? ["proxy_request_buffering off;"] : []),
    ...(logs ? [`${prefix}_set_header X-Request-Id $request_id;`] : []),
    // As Sluice does; `$http_host` would be empty over HTTP/2.
    `${prefix}_set_header Host $host:$server_port;`,
    `${prefix}_set_header X-Forwarded-For $remote_addr;`,
    `${prefix}_set_header X-Forwarded-Proto $scheme;`,
    `${prefix}_set_header X-Forwarded-Host $host:$server_port;`,
    `${prefix}_set_header X-Forwarded-Port $server_port;`,
  ];
}
