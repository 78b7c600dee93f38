# A browser that we didn't write, and what drives it.
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends chromium chromium-driver fonts-dejavu-core \
 && rm -rf /var/lib/apt/lists/*
