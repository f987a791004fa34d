# syntax=docker/dockerfile:1
# Build: docker build --build-arg VERSION=1.2.3 -t fanfare .
# Run:   docker run -p 8080:8080 --ulimit nofile=1048576:1048576 --stop-timeout 30 fanfare
# The publish API listens on the container's own loopback. To publish from outside, set a token and bind it to all addresses:
#        docker run -p 8080:8080 -p 127.0.0.1:8081:8081 -e FANFARE_ADMIN=0.0.0.0:8081 -e FANFARE_PUBLISH_TOKEN fanfare

FROM golang:1.26-bookworm AS build
WORKDIR /src
# The modules have a layer of their own, so they are fetched again only when go.mod or go.sum changes.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
# Static (no cgo), stripped, without local paths. The context does not include .git, so the version is an argument.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=${VERSION}" -o /out/fanfare ./cmd/fanfare
RUN mkdir /out/data

FROM scratch
# CA certificates for outgoing TLS, and time zones for schedules and logs: scratch has neither.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /out/fanfare /fanfare
# For dataDir: a volume that Docker makes for this directory gets its owner.
COPY --from=build --chown=65532:65532 /out/data /var/lib/fanfare
# An arbitrary user, as a number, because scratch has no /etc/passwd and Kubernetes' runAsNonRoot requires a number.
USER 65532:65532
# 8080 streams, 8081 publish API, metrics and health (loopback of the container unless FANFARE_ADMIN says otherwise).
EXPOSE 8080 8081
# The image has no shell and no curl: the binary asks its own admin listener.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/fanfare", "healthcheck"]
# SIGTERM drains: `docker stop` waits ten seconds by default, so give it more than drainDelay + drainTimeout (see above).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/fanfare"]
