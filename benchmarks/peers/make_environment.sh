#!/bin/bash
# Makes the environment of a peer: benchmarks/peers/make_environment.sh litserve
#
# Variables: PYTHON; TORCH_INDEX, an extra index for torch's CPU build (https://download.pytorch.org/whl/cpu);
# SHARE, the site-packages of an environment that has this project and torch already, instead of a second torch.
set -euo pipefail
cd "$(dirname "$0")"
name=${1:?"which peer: $(ls -d */ | tr -d / | tr '\n' ' ')"}
venv=$name/.venv
"${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
if [ -n "${SHARE:-}" ]; then
  echo "$SHARE" > "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
else
  "${pip[@]}" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "../..[server]"
fi
"${pip[@]}" -r "$name/requirements.txt"
