# refreshd alone: the program, root certificates, no shell, no user but 65532.
#
#   docker build --tag refreshd .
#   docker build --target refresh-storm --tag refresh-storm .
#
# Where no image can be pulled, deploy/images makes the same two out of programs that are built already: it takes the
# instructions below the line of each stage from here.

ARG RUST_IMAGE=rust:1-slim-bookworm

FROM ${RUST_IMAGE} AS build
# The allocator is built by make, which slim images do not have.
RUN command -v make >/dev/null || { apt-get update && apt-get install --yes --no-install-recommends make; }
WORKDIR /source
COPY . .
# Linked statically, so that the programs need no other file. Naming the target keeps that from what runs at build time.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target "$target" \
      --package refreshd --package refresh-storm \
 && mkdir /programs \
 && cp "target/$target/release/refreshd" "target/$target/release/refresh-storm" /programs \
 && strip /programs/*

FROM scratch AS refreshd
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /programs/refreshd /usr/bin/
ENV PATH=/usr/bin REFRESHD_LISTEN=0.0.0.0:8400
USER 65532:65532
EXPOSE 8400
HEALTHCHECK --interval=5s --timeout=4s --start-period=5s CMD ["refreshd", "ready"]
ENTRYPOINT ["refreshd"]
CMD ["serve"]

# For trying a fleet: the storm, its provider, and refreshd for their health checks.
FROM refreshd AS refresh-storm
COPY --from=build /programs/refresh-storm /usr/bin/
HEALTHCHECK NONE
ENTRYPOINT ["refresh-storm"]
CMD ["--help"]

# What is built where no --target is named.
FROM refreshd
