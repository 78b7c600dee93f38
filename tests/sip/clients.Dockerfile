# SIP clients that we didn't write.
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends baresip-core sip-tester \
 && rm -rf /var/lib/apt/lists/*
