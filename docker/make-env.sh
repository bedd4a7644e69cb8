#!/bin/sh
# Prints an environment for docker-compose.yml with passwords that nobody has seen:  docker/make-env.sh > .env
set -eu
umask 077
secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
sed -n '/^[#A-Z]/p' "$(dirname "$0")/.env.example" | while IFS= read -r line; do
  case $line in
    *_KEY= | *_SECRET= | *_PASSWORD=) printf '%s%s\n' "$line" "$(secret)" ;;
    *) printf '%s\n' "$line" ;;
  esac
done
