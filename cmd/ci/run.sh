#!/usr/bin/env bash
# Builds an image as the action does. The inputs are in the environment (INPUT_VARIANT for
# the input variant), and each becomes one argument, whatever it contains. The program
# checks their combination.
set -euo pipefail

args=()
# add PREFIX VALUE adds an argument, unless the value is empty.
add() {
  [[ -z $2 ]] || args+=("$1$2")
}
# each PREFIX LINES adds an argument for each line that is not blank.
each() {
  local line
  while IFS=$' \t' read -r line; do add "$1" "$line"; done <<<"${2//$'\r'/}"
}

push=${INPUT_PUSH:-false}
if [[ $push != true && $push != false ]]; then
  printf 'error: push must be true or false, got "%s"\nwhat to do: check the input push\n' "$push" >&2
  exit 2
fi
# The author of a pull request from a fork decides what is built. So the result is not pushed,
# and not stored in a cache that others read, whatever the job's token permits. An unreadable
# event ends the job.
if [[ -n ${GITHUB_EVENT_PATH:-} ]]; then
  fork=$(jq -r '.repository.full_name as $here | .pull_request != null and .pull_request.head.repo.full_name != $here' "$GITHUB_EVENT_PATH")
  if [[ $fork = true ]]; then
    echo "::notice title=llorch-bk::Nothing is pushed and no cache is written: the pull request is from a fork"
    push=false
    unset LLORCH_PUSH LLORCH_CACHE_TO
    # With this event the token can write, and a fork's llorch.yaml could use that.
    [[ ${GITHUB_EVENT_NAME:-} != pull_request_target ]] || args+=(--file=/dev/null)
  fi
fi

locked=${INPUT_LOCKED:-}
if [[ -z $locked && -f llorch.lock ]]; then locked=llorch.lock; fi
[[ $locked = none ]] || add --locked= "$locked"
add --source= "${INPUT_SOURCE:-}"
add --ref= "${INPUT_REF:-}"
add --variant= "${INPUT_VARIANT:-}"
add --cpu= "${INPUT_CPU:-}"
add --cuda-arch= "${INPUT_CUDA_ARCH:-}"
first=${#args[@]}
each --platform= "${INPUT_PLATFORMS:-}"
platforms=$((${#args[@]} - first))
each --tag= "${INPUT_TAGS:-}"
# The engine's own BuildKit often cannot push or export a layer cache. With the same builder,
# all jobs have the same steps.
add --builder= "${INPUT_BUILDER:-${LLORCH_BUILDER:-${BUILDKIT_HOST:-managed}}}"
first=${#args[@]}
each --cache-from= "${INPUT_CACHE:-}"
if [[ $push = true ]]; then
  if ((${#args[@]} > first)); then add --cache-to= "${args[first]#--cache-from=}"; fi
  args+=(--push)
  add --sign= "${INPUT_SIGN:-}"
else
  # Only a pushed image can be signed.
  unset LLORCH_SIGN
fi
metadata=$(mktemp -d "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/llorch-bk-XXXXXX")/build.json
# No engine loads an index: without a push it becomes a file.
if [[ $push != true ]] && ((platforms > 1)); then args+=(--output="${metadata%/*}/image.tar"); fi
each "" "${INPUT_EXTRA_FLAGS:-}"

llorch-bk build --metadata-file="$metadata" ${args[@]+"${args[@]}"}

if [[ -n ${GITHUB_OUTPUT:-} ]]; then
  out=$(jq -r --arg mark "end-$RANDOM$RANDOM$RANDOM" '"digest=\(.digest // "")", "tags<<\($mark)", .tags[]?, $mark' "$metadata")
  printf '%s\nmetadata=%s\n' "$out" "$metadata" >>"$GITHUB_OUTPUT"
fi
if [[ ${INPUT_SUMMARY:-true} = true && -n ${GITHUB_STEP_SUMMARY:-} ]]; then
  bash "$(dirname "${BASH_SOURCE[0]}")/summary.sh" "$metadata" >>"$GITHUB_STEP_SUMMARY"
fi
