# Prosody, the chat server.
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends prosody \
 && rm -rf /var/lib/apt/lists/*
USER prosody
