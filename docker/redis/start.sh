# Makes the users of Redis out of the environment, as hashes in a file that nobody else can read, and starts Redis.
# Each part gets what it needs. The queue's script looks for its keys with KEYS, which is why that is allowed.
set -eu
umask 077

sha256() { printf %s "$1" | sha256sum | cut -d' ' -f1; }

cat > /tmp/users.acl <<ACL
user default off
user gateway on #$(sha256 "$REDIS_GATEWAY_PASSWORD") resetchannels &sp:prompts ~sp:* ~LIMITS:* +@all -@admin -@dangerous +keys
user engine on #$(sha256 "$REDIS_ENGINE_PASSWORD") resetchannels ~sp:prompt:* -@all +@connection +get +set +del
user worker on #$(sha256 "$REDIS_WORKER_PASSWORD") resetchannels &sp:prompts ~sp:* +@all -@admin -@dangerous +keys
ACL
unset REDIS_GATEWAY_PASSWORD REDIS_ENGINE_PASSWORD REDIS_WORKER_PASSWORD
# A cache and a messenger: nothing is kept on disk. Prompts have an end, so that volatile-lru makes room by forgetting
# them, which the blob store has as well, and never a job's message.
exec redis-server --aclfile /tmp/users.acl --dir /tmp --save '' --appendonly no \
  --maxmemory "$REDIS_MEMORY" --maxmemory-policy volatile-lru --tcp-keepalive 60
