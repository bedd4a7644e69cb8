#!/bin/bash
cd "$(dirname "$0")" && export PYTHONPATH=${PWD%/*}:${PYTHONPATH:-} && export BENTOML_DO_NOT_TRACK=True BENTOML_HOME="${TMPDIR:-/tmp}/bentoml-peer"
exec .venv/bin/python -m bentoml serve server:Clips --host 127.0.0.1 --port "$1"
