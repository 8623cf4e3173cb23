# The image: one static program, FROM scratch, run by a number. No shell, no docker CLI, no roots
# of certificate authorities: those are the operator's (MCP_AUTH_CA_FILE).
#
#   docker build --build-arg DYNAMIC_MCP_GIT_SHA="$(git rev-parse HEAD)" -t dynamic-mcp:0.1.0 .
#
# Without a network: run `cargo vendor --locked` where there is one, and bring the checkout with
# vendor/ and the build image over; then nothing is downloaded (`docker build --network none`).
# BUILD_IMAGE needs cargo, a C compiler and a static libc; FINAL_IMAGE may be a distroless one.
ARG BUILD_IMAGE=rust:1.91-slim-bookworm
ARG FINAL_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
ARG DYNAMIC_MCP_GIT_SHA=unknown
WORKDIR /build
COPY . .
RUN DYNAMIC_MCP_GIT_SHA="${DYNAMIC_MCP_GIT_SHA}" deploy/build-image-root /image

FROM ${FINAL_IMAGE}
ARG DYNAMIC_MCP_GIT_SHA=unknown
LABEL org.opencontainers.image.title="dynamic-mcp" \
      org.opencontainers.image.description="MCP server whose tools are made while it runs" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${DYNAMIC_MCP_GIT_SHA}" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /image/system/ /
COPY --from=build --chown=10001:10001 /image/state/ /var/lib/
# Inside a container loopback is nobody's; what is reachable must have MCP_AUTH_MODE=jwt.
ENV MCP_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/dynamic-mcp
# The tools' file and the audit log. With --read-only, give it --tmpfs /tmp too.
VOLUME /var/lib/dynamic-mcp
EXPOSE 8788
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/dynamic-mcp", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/dynamic-mcp"]
CMD ["serve"]
