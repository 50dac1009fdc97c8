# Sluice in a container.
#
#   docker build -t sluice .
#   docker run --name sluice -p 8080:8080 -v sluice:/var/lib/sluice -v ./config/edge:/etc/sluice:ro sluice
#   docker exec sluice sluice rollout status checkout
#
# The admin API has no credentials yet and therefore stays on loopback, which in a container is the
# container's own: `docker exec` and the health check reach it, neighbours do not. For kubectl or
# Prometheus, run with `--network host`, or beside it with `--network container:sluice`.
#
# Requests in flight get 25 seconds from SIGTERM on (--drain-timeout): `docker stop -t 35`.
# A test runs these steps (test/e2e/container.test.ts).

FROM node:24-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN mkdir /pack && npm pack --silent --pack-destination /pack

# What users of the package get, at the versions of the lock file, without what builds and tests it.
FROM node:24-slim AS install
WORKDIR /app
COPY --from=build /pack /pack
COPY --from=build /src/package-lock.json ./
RUN tar -xzf /pack/sluice-*.tgz --strip-components=1 && npm install --omit=dev --omit=optional
RUN mkdir /data /config

FROM node:24-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=install /app ./
COPY --from=install --chown=node:node /data /var/lib/sluice
COPY --from=install /config /etc/sluice
RUN ln -s /app/dist/cli/main.js /usr/local/bin/sluice
USER node
EXPOSE 8080 9900
VOLUME /var/lib/sluice
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:9900/readyz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/dist/cli/main.js"]
CMD ["up", "-f", "/etc/sluice", "--data", "/var/lib/sluice", "--admin", "127.0.0.1:9900"]
