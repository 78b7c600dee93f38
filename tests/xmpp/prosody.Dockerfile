# Prosody, the chat server; lua-unbound lets a test say where other servers are.
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends prosody lua-unbound \
 && rm -rf /var/lib/apt/lists/*
USER prosody
