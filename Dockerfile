# keygate's image: one static program, no shell, nothing to write to. `make image` builds it.
#
# Both bases can be chosen. The program is linked with everything it needs, so that `scratch` does for the second, too; what
# distroless/static adds are the certificates of authorities (for https upstreams and issuers) and names for accounts.
ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG TARGETARCH=amd64
ARG CARGO_AUDITABLE=0.7.4
WORKDIR /src

# Writes the list of dependencies into the program, where `cargo audit bin`, trivy and grype read it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --quiet --locked --root /usr/local/auditable "cargo-auditable@${CARGO_AUDITABLE}"
ENV PATH=/usr/local/auditable/bin:$PATH

# jemalloc is built by `make`. For another kind of processor everything is compiled on this one: its compiler is needed, but no
# emulation. Kernels for arm64 have pages of 4, 16 or 64 KiB, and the allocator must know the largest.
# hadolint ignore=DL3008,SC2086
RUN case "$TARGETARCH" in \
        amd64) machine=x86_64 gcc=gcc-x86-64-linux-gnu ;; \
        arm64) machine=aarch64 gcc=gcc-aarch64-linux-gnu ;; \
        *) echo "no way to $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    target=$machine-unknown-linux-gnu; \
    echo "$target" >/target; \
    missing=; \
    command -v make >/dev/null || missing=make; \
    [ "$machine" = "$(uname -m)" ] || missing="$missing $gcc libc6-dev-$TARGETARCH-cross"; \
    [ -z "$missing" ] || { \
        apt-get update -qq; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; \
        rm -rf /var/lib/apt/lists; }; \
    test -d "$(rustc --print target-libdir --target "$target")" || rustup target add "$target"
# Where it was compiled says nothing to whoever runs it.
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_PROFILE_RELEASE_STRIP=symbols \
    CFLAGS="-ffile-prefix-map=/usr/local/cargo/registry=/registry" \
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/usr/local/cargo/registry=/registry"

COPY Cargo.toml Cargo.lock ./
COPY .cargo ./.cargo
COPY src ./src
# `--target` although it may be the same: what runs while it is compiled cannot be linked statically.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    if [ "$TARGETARCH" = arm64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi; \
    cargo auditable build --release --locked --bin keygate --target "$(cat /target)" \
    && install -D "target/$(cat /target)/release/keygate" /out/usr/local/bin/keygate

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="keygate" \
      org.opencontainers.image.description="An API-key gateway that stands beside an HTTP API" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out /
ENV KEYGATE_CONFIG=/etc/keygate/keygate.yaml
# A number, because `runAsNonRoot` believes nothing else. Any other user will do as well.
USER 65532:65532
EXPOSE 8443 9901
ENTRYPOINT ["/usr/local/bin/keygate"]
CMD ["run"]
