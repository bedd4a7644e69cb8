#!/bin/bash
cd "$(dirname "$0")" && export PYTHONPATH=${PWD%/*}:${PYTHONPATH:-} && exec .venv/bin/python server.py "$1"
