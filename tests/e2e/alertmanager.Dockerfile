# Alertmanager of the distribution: its own image can't be had everywhere.
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends prometheus-alertmanager \
 && rm -rf /var/lib/apt/lists/*
USER nobody
ENTRYPOINT ["prometheus-alertmanager", "--config.file=/lcs/deploy/prometheus/alertmanager.yml", "--storage.path=/tmp", "--cluster.listen-address="]
