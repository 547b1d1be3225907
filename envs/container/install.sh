#!/usr/bin/env bash
# Installs dnatune into /opt/dnatune of a plain Debian 12, as root: what Dockerfile and dnatune.def run in their base image.
#
#   install.sh SOURCE
#
# SOURCE is a folder with the parts of the checkout that the package is made from. It may be deleted afterwards.
# TORCH_INDEX: an index URL of PyTorch builds, as in the Makefile. Empty: PyPI's build, which brings its CUDA libraries.
set -euo pipefail
source_folder=${1:?give the folder that holds pyproject.toml}
place=/opt/dnatune
export DEBIAN_FRONTEND=noninteractive PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

apt-get update
# gcc and the headers: on a GPU, torch compiles the layers for long trainings (training.compile).
# git: run.json names the commit of the checkout whose library the job uses.
apt-get install --yes --no-install-recommends ca-certificates gcc git libc6-dev python3 python3-dev python3-venv
apt-get clean
rm -rf /var/lib/apt/lists/*

python3 -m venv "$place"
pip() { "$place/bin/python" -m pip "$@"; }
if [ -n "${TORCH_INDEX:-}" ]; then
  pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' "$source_folder/envs/requirements.lock")"
fi
# The site file of whoever builds the image is not for others.
rm -rf "$source_folder/profiles/sites/local"
DS_BUILD_OPS=0 pip install -r "$source_folder/envs/requirements.lock"
pip install --no-deps "$source_folder"
pip check

# From a folder that holds no library: what answers is the installed package.
cd /
"$place/bin/python" -P -m dnatune --help >/dev/null
"$place/bin/python" -P -c '
import importlib.metadata
import deepspeed, peft, torch, transformers
print("dnatune", importlib.metadata.version("dnatune"), "with torch", torch.__version__, "for CUDA", torch.version.cuda)
'
