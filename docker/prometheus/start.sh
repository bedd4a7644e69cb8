set -eu
umask 077
printf %s "$METRICS_KEY" > /tmp/metrics_key
unset METRICS_KEY
exec /bin/prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus \
  --storage.tsdb.retention.time="$RETENTION" --web.listen-address=:9090
