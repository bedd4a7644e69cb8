#!/bin/bash
cd "$(dirname "$0")" && export PYTHONPATH=${PWD%/*}:${PYTHONPATH:-} && export RAY_USAGE_STATS_ENABLED=0 RAY_DEDUP_LOGS=0
exec .venv/bin/python server.py "$1"
