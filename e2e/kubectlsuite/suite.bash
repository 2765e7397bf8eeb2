#!/usr/bin/env bash
# Runs the test functions of Kubernetes' test/cmd, which lie below $SUITE_ROOT, against the API at $SECURE_API_PORT, and writes what became of
# every assertion to $SUITE_RESULTS: function, outcome, place, words, and the output of one that failed, with tabs between.
#
# The suite itself ends a function at the first thing that fails. Here it goes on, so that one fault is not counted as many: errexit is never
# set, and what would have ended the function is noted by a trap on ERR, which fires in just those cases.

cd "$SUITE_ROOT" || exit 1
tput() { :; } # no colours
source hack/lib/init.sh
source hack/lib/test.sh
source test/cmd/legacy-script.sh
builtin set +o errexit +o nounset +o pipefail
shopt -u inherit_errexit

set() {
  case "$*" in
    "-o errexit") armed=1 ;;
    "+o errexit") armed= ;;
    *) builtin set "$@" ;;
  esac
}

current=setup depth=0 pending= failed= armed=

# note FUNCTION-OUTCOME PLACE WORDS [OUTPUT] appends a line to the results.
note() {
  local words=$3 out=${4:-}
  ((${#words} < 1000)) || words="${words:0:500} … ${words: -400}" # replacing in what is long takes minutes
  ((${#out} < 1000)) || out=${out: -1000}
  words=${words//[$'\n\t']/ }
  out=${out//[$'\n\t']/ }
  printf '%s\t%s\t%s\t%s\t%s\n' "$current" "$1" "$2" "$words" "$out" >>"$SUITE_RESULTS"
}

# asserted NAME ARGS... runs one of the suite's assertions. One that fails is only counted when the trap on ERR says that nobody minds the
# failure: those before an || or in the condition of a loop are questions.
asserted() {
  local name=$1 out
  shift
  if ((depth > 0)); then
    "suite::$name" "$@"
    return
  fi
  local depth=1 place="${BASH_SOURCE[2]##*/}:${BASH_LINENO[1]}"
  pending=
  if out=$("suite::$name" "$@" 2>&1); then
    note passed "$place" "${name#kube::test::} $*"
    return 0
  fi
  pending=$place pendingWords="${name#kube::test::} $*" pendingOut=$out
  return 1
}

stopped() {
  local place="${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}"
  if [[ -n $pending ]]; then
    note failed "$pending" "$pendingWords" "$pendingOut"
    failed=$place pending=
    [[ "$place" == suite.bash* ]] && failed=${BASH_SOURCE[2]##*/}:${BASH_LINENO[1]}
  elif [[ -n $armed ]] && ((depth == 0)) && [[ "${BASH_SOURCE[1]:-}" == *test/cmd/* && "$BASH_SUBSHELL" == "$level" && "$place" != "$failed" ]]; then
    note stopped "$place" "$1"
  fi
}

for name in $(compgen -A function | grep -E '^kube::test::.*(assert|if_has_|if_empty_|if_sort_|results::diff)') wait-for-pods-with-label; do
  eval "suite::$(declare -f "$name")"
  eval "$name() { asserted $name \"\$@\"; }"
done

# Inside an assertion the suite waits up to 45 s for what comes within a second, or never.
sleep() {
  if ((depth > 0)) && [[ "$1" =~ ^[0-9]+$ && "$1" -gt 1 ]]; then
    command sleep 1
  else
    command sleep "$@"
  fi
}

# clean takes away what a test left, but for what later ones expect: the namespace that was made last, and the service of the API.
clean() {
  grep -LrE '^kind: Namespace|^  name: kubernetes$' "$SUITE_MANIFESTS" | while IFS= read -r file; do rm -f "$file"; done
  command kubectl delete persistentvolumes --all --wait=false &>/dev/null # those of claims that are gone stay otherwise
  local i
  for i in {1..40}; do
    [[ -z "$(command kubectl get pods -A -o name 2>/dev/null)" ]] && break
    command sleep 0.5
  done
}

record_command() {
  current=$1
  if [[ -n "${SUITE_ONLY:-}" && ! "$current" =~ $SUITE_ONLY ]]; then
    return 0
  fi
  if [[ "$current" =~ ^($SUITE_SKIPPED)$ ]]; then
    note apart "" ""
    return 0
  fi
  printf '== %s\n' "$current"
  local begin=$SECONDS
  (
    level=$BASH_SUBSHELL
    builtin set -o errtrace
    trap 'stopped "$BASH_COMMAND"' ERR
    "$@"
    trap - ERR
    note end "" ""
  ) </dev/null &
  local work=$!
  (command sleep "$SUITE_PATIENCE"; kill "$work" && note late "" "") 2>/dev/null &
  local watch=$!
  wait "$work"
  kill "$watch" 2>/dev/null
  note took "" "$((SECONDS - begin))"
  clean
  current=between
}

current=other level=$BASH_SUBSHELL
trap - ERR EXIT
KUBE_TEMP=$(mktemp -d) SED=sed CONTEXT=test HOME=$SUITE_HOME ALLOW_SKEW=1 SUPPORTED_RESOURCES=('*')
export KUBE_TEMP HOME
kube::test::clear_all() { :; }
runTests </dev/null
